"""Models and device: what the machine that runs the models has, downloads, and the choice of another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
from MedCLIPSAMScene import modelFacts
from MedCLIPSAMScene.strings import _
from MedCLIPSAMScene.transport import QProcessTransport, WorkerCommand, workerCommand

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError, ModelError
from MedCLIPSAMLib.models.catalogue import MODELS
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request

from .enabling import enable, explain

DEVICES = ("auto", "cuda", "mps", "cpu")


class ModelsSection:
    """The section of models. It has a separate worker, so that a download does not block a segmentation."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        self._transport = QProcessTransport(self.command)
        self._client = WorkerClient(self._transport, self._receive)
        self._listing: Request | None = None
        self._download: Request | None = None
        self._listedFolder: str | None = None
        self._states: list[dict] = []
        self._boxes = {"clip": ui.clipBox, "sam": ui.samBox}
        for model in MODELS:
            self._boxes[model.kind].addItem(model.name, model.name)
        ui.deviceBox.addItems([_("automatic"), "CUDA", "MPS", "CPU"])
        ui.deviceBox.setCurrentIndex(DEVICES.index(self._device()))
        ui.deviceBox.connect("currentIndexChanged(int)", lambda index: panel.machine.set("Device", DEVICES[index]))
        ui.remoteEdit.text = panel.machine.get("WorkerCommand")
        ui.remoteEdit.connect("editingFinished()", self._commandChanged)
        table = ui.modelsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Model"), _("State"), _("Download"), _("License")])
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setMinimumHeight(170)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self.update)
        ui.modelsCollapsibleButton.connect("contentsCollapsed(bool)", self._opened)
        ui.refreshModelsButton.connect("clicked(bool)", self.refresh)
        ui.downloadButton.connect("clicked(bool)", self._startDownload)
        ui.cancelDownloadButton.connect("clicked(bool)", self._cancelDownload)
        self.update()

    def command(self) -> WorkerCommand:
        """Return the current command of the worker."""
        return workerCommand(self._panel.machine.get("WorkerCommand"))

    def models(self) -> tuple[str, str, str, str | None]:
        """Return (clip, sam, device, folder of models or None) for the next run."""
        parameters = self._panel.parameters
        return parameters.clip, parameters.sam, self._device(), self._panel.paths.get("modelsFolder") or None

    def warning(self, volumeNode) -> str:
        """Return why the chosen models should not be used on a volume; empty if there is no reason."""
        return modelFacts.syntheticWarning(volumeNode, self._chosenStates())

    def explain(self, error: MedCLIPSAMError) -> str:
        """Return the text of an error for the user; for a missing model it names buttons instead of commands."""
        if not isinstance(error, ModelError):
            return str(error)
        if "models download" in error.remedy:
            remedy = _("Choose it in the table under Models and device and press Download, or name a folder of models.")
        elif "--models-dir" in error.remedy:
            remedy = _("Choose a folder of models that contains it, under Models and device.")
        else:
            return str(error)
        return f"{error.problem} {remedy}"

    def update(self) -> None:
        """Enable the possible actions, and show what the chosen models were trained on."""
        ui, chosen = self._panel.ui, self._selected()
        offered = chosen is not None and not chosen["usable"] and chosen.get("downloadable", True)
        reason = (
            _("A download is running.")
            if self.loading
            else ""
            if offered
            else _("Choose a model in the table that is not available yet.")
        )
        enable(ui.downloadButton, reason)
        enable(ui.cancelDownloadButton, "" if self.loading else _("No download is running."))
        ui.downloadBar.setVisible(self.loading)
        parameters = self._panel.parameters
        if parameters is not None:
            self._offer("clip", [parameters.clip])
            self._offer("sam", [parameters.sam])
            lines = [*map(_trained, self._chosenStates()), *map(_tested, self._chosenStates())]
            ui.seenLabel.text = "\n".join(dict.fromkeys(lines))
            for state in self._chosenStates():
                explain(self._boxes[state["kind"]], _experience(state))

    def refresh(self) -> None:
        """Request the models and devices of the worker's machine."""
        self._panel.ui.modelsLabel.text = _("Looking for models...")
        folder = self._listedFolder = self._panel.paths.get("modelsFolder")
        try:
            self._listing = self._client.models(folder or None)
        except MedCLIPSAMError as error:
            self._panel.ui.modelsLabel.text = self.explain(error)

    def endWorkers(self) -> None:
        """End all workers without a long run, including this section's; the next request starts a new one."""
        self._panel.operations.endWorkers()
        self._client.shutdown()

    @property
    def loading(self) -> bool:
        """Whether a download is not finished."""
        return self._download is not None

    def close(self) -> None:
        """End the section's worker, and wait for its end."""
        self._client.shutdown()
        self._transport.close()

    def _device(self) -> str:
        """Return the device in the settings; "auto" if they name none of `DEVICES`."""
        device = self._panel.machine.get("Device", "auto")
        return device if device in DEVICES else "auto"

    def _opened(self, collapsed: bool) -> None:
        if not collapsed and self._listedFolder != self._panel.paths.get("modelsFolder"):
            self.refresh()

    def _startDownload(self) -> None:
        chosen = self._selected()
        if chosen is None:
            return
        try:
            self._download = self._client.download(chosen["name"], chosen["kind"])
        except MedCLIPSAMError as error:
            self._panel.ui.modelsLabel.text = self.explain(error)
            return
        self._panel.ui.downloadBar.value = 0
        self._panel.ui.modelsLabel.text = _("Downloading '{name}'...").format(name=chosen["name"])
        self._panel.update()

    def _cancelDownload(self) -> None:
        if self._download is not None:
            self._client.cancel(self._download)

    def _receive(self, request: Request | None, message: Message) -> None:
        label = self._panel.ui.modelsLabel
        if request is None or message.type not in ("result", "error", "progress"):
            return
        if request is self._download and message.type == "progress":
            self._panel.ui.downloadBar.value = int(100 * message.fields["fraction"])
            label.text = _("Downloading '{file}'...").format(file=message.fields["file"])
        elif request is self._download:
            self._download = None
            self._panel.update()
            if request.error is None:
                self.refresh()
            elif isinstance(request.error, Cancelled):
                label.text = _("Cancelled; the next download continues where this one stopped.")
            else:
                label.text = self.explain(request.error)
        elif request is self._listing and request.done:
            if request.error is None:
                self._show(message.fields)
            else:
                label.text = self.explain(request.error)

    def _show(self, fields) -> None:
        ui, table = self._panel.ui, self._panel.ui.modelsTable
        self._states = list(fields["models"])
        table.setRowCount(len(self._states))
        for row, state in enumerate(self._states):
            size = state["download_bytes"]
            texts = (
                f"{state['name']} ({state['kind']})",
                state["state"],
                f"{size / 1e6:.0f} MB" if size else "",
                state["license"],
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                about = state["title"], state["purpose"], _experience(state), state["detail"]
                item.setToolTip("\n".join(filter(None, about)))
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        for state in self._states:
            self._offer(state["kind"], [state["name"]])
            box = self._boxes[state["kind"]]
            box.setItemText(box.findData(state["name"]), f"{state['name']} ({state['state']})")
        devices = ", ".join(device["title"] for device in fields["devices"])
        ui.modelsLabel.text = _("Devices: {devices}. PyTorch {torch}, built for {built}.").format(
            devices=devices, torch=fields["torch"], built=fields["built_for"]
        )
        self.update()

    def _offer(self, kind: str, names: list[str]) -> None:
        """Offer models that are not in the catalogue, such as fine-tuned ones."""
        box = self._boxes[kind]
        for name in names:
            if box.findData(name) < 0:
                box.addItem(name, name)
                if self._panel.parameters is not None and getattr(self._panel.parameters, kind) == name:
                    box.setCurrentIndex(box.findData(name))

    def _chosenStates(self) -> list[dict]:
        """Return the facts about the chosen models, from the machine where they run or else from the catalogue."""
        parameters = self._panel.parameters
        known = {("clip", parameters.clip), ("sam", parameters.sam)}
        states = modelFacts.catalogueFacts() | {(state["kind"], state["name"]): state for state in self._states}
        return [states[key] for key in sorted(known) if key in states]

    def _selected(self) -> dict | None:
        """Return the model that is selected in the table."""
        row = self._panel.ui.modelsTable.currentRow()
        return self._states[row] if 0 <= row < len(self._states) else None

    def _commandChanged(self) -> None:
        command = self._panel.ui.remoteEdit.text.strip()
        if command == self._panel.machine.get("WorkerCommand"):
            return
        self._panel.machine.set("WorkerCommand", command)
        self.endWorkers()
        self._listedFolder = None
        text = _("The next run starts the worker with this command; press Refresh to list the models there.")
        if any(task.running for task in self._panel.operations.longRuns):
            text += " " + _("Current runs continue where they were started; press Stop to end them.")
        self._panel.ui.modelsLabel.text = text
        self._panel.update()


def _experience(state: Mapping[str, Any]) -> str:
    """Return two lines that say what a model was trained and tested on."""
    return f"{_trained(state)}\n{_tested(state)}"


def _trained(state: Mapping[str, Any]) -> str:
    kind = _("text and image") if state["kind"] == "clip" else _("outline")
    return _("{name} ({kind}), trained on: {seen}").format(
        name=state["name"], kind=kind, seen=state.get("seen") or _("not known.")
    )


def _tested(state: Mapping[str, Any]) -> str:
    return _("{name}, tested: {tested}").format(
        name=state["name"], tested=state.get("tested") or _("not by this project.")
    )
