"""Models and device: what there is on the machine where the models run, downloads, another machine."""

from __future__ import annotations

import qt
from MedCLIPSAMScene.strings import _
from MedCLIPSAMScene.transport import QProcessTransport, workerCommand

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError
from MedCLIPSAMLib.models.catalogue import MODELS
from MedCLIPSAMLib.worker.client import WorkerClient

DEVICES = ("auto", "cuda", "mps", "cpu")


class ModelsSection:
    """The section of models. It asks a worker of its own, so that a download does not hold up a segmentation."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        self._transport = QProcessTransport(self.command)
        self._client = WorkerClient(self._transport, self._receive)
        self._listing = self._download = None
        self._asked = False
        self._states: list[dict] = []
        self._names = {kind: [model.name for model in MODELS if model.kind == kind] for kind in ("clip", "sam")}
        for kind, box in (("clip", ui.clipBox), ("sam", ui.samBox)):
            box.addItems(self._names[kind])
            panel.bindings.choice(box, self._names[kind], kind)
        ui.deviceBox.addItems([_("automatic"), "CUDA", "MPS", "CPU"])
        ui.deviceBox.setCurrentIndex(DEVICES.index(panel.machine.get("Device", "auto")))
        ui.deviceBox.connect("currentIndexChanged(int)", lambda index: panel.machine.set("Device", DEVICES[index]))
        ui.modelsFolderEdit.currentPath = panel.machine.get("ModelsFolder")
        ui.modelsFolderEdit.connect("currentPathChanged(QString)", self._folderChanged)
        ui.remoteEdit.text = panel.machine.get("WorkerCommand")
        ui.remoteEdit.connect("editingFinished()", self._commandChanged)
        table = ui.modelsTable
        table.setColumnCount(4)
        table.setHorizontalHeaderLabels([_("Model"), _("State"), _("Download"), _("Licence")])
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setMinimumHeight(170)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self.update)
        ui.modelsCollapsibleButton.connect("contentsCollapsed(bool)", self._opened)
        ui.refreshModelsButton.connect("clicked(bool)", lambda *_arguments: self.refresh())
        ui.downloadButton.connect("clicked(bool)", lambda *_arguments: self._startDownload())
        ui.cancelDownloadButton.connect("clicked(bool)", lambda *_arguments: self._client.cancel(self._download))
        self.update()

    def command(self) -> list[str]:
        """The command of the worker as it is set now."""
        return workerCommand(self._panel.machine.get("WorkerCommand"))

    def models(self) -> tuple[str, str, str, str | None]:
        """(clip, sam, device, folder of models) for the next run."""
        machine, parameters = self._panel.machine, self._panel.parameters
        return parameters.clip, parameters.sam, machine.get("Device", "auto"), machine.get("ModelsFolder") or None

    def update(self) -> None:
        """Enable what can be done."""
        ui, chosen = self._panel.ui, self._chosen()
        if self._panel.parameters is not None:
            self._offer("clip", [self._panel.parameters.clip])
        loading = self._download is not None
        offered = chosen is not None and not chosen["usable"] and chosen.get("downloadable", True)
        ui.downloadButton.enabled = offered and not loading
        ui.downloadButton.toolTip = (
            _("Download the chosen model to the machine where the models run")
            if ui.downloadButton.enabled
            else _("Choose a model in the table that is not there yet.")
        )
        ui.cancelDownloadButton.enabled = loading
        ui.downloadBar.setVisible(loading)

    def refresh(self) -> None:
        """Ask the worker's machine what it has."""
        self._panel.ui.modelsLabel.text = _("Looking for models...")
        try:
            self._listing = self._client.models(self._panel.machine.get("ModelsFolder") or None)
        except MedCLIPSAMError as error:
            self._panel.ui.modelsLabel.text = str(error)

    def close(self) -> None:
        """End the section's worker, and wait for its end."""
        self._client.shutdown()
        self._transport.close()

    def _opened(self, collapsed: bool) -> None:
        if not collapsed and not self._asked:
            self._asked = True
            self.refresh()

    def _startDownload(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        try:
            self._download = self._client.download(chosen["name"], chosen["kind"])
        except MedCLIPSAMError as error:
            self._panel.ui.modelsLabel.text = str(error)
            return
        self._panel.ui.downloadBar.value = 0
        self._panel.ui.modelsLabel.text = _("Downloading '{name}'...").format(name=chosen["name"])
        self.update()

    def _receive(self, request, message) -> None:
        label = self._panel.ui.modelsLabel
        if request is None or message.type not in ("result", "error", "progress"):
            return
        if request is self._download and message.type == "progress":
            self._panel.ui.downloadBar.value = int(100 * message.fields["fraction"])
            label.text = _("Downloading '{file}'...").format(file=message.fields["file"])
        elif request is self._download:
            self._download = None
            self.update()
            if request.error is None:
                self.refresh()
            elif isinstance(request.error, Cancelled):
                label.text = _("Cancelled; the next download goes on where this one stopped.")
            else:
                label.text = str(request.error)
        elif request is self._listing and request.done:
            if request.error is None:
                self._show(message.fields)
            else:
                label.text = str(request.error)

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
                state["licence"],
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip("\n".join(filter(None, (state["title"], state["purpose"], state["detail"]))))
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        for kind, box in (("clip", ui.clipBox), ("sam", ui.samBox)):
            byName = {state["name"]: state for state in self._states if state["kind"] == kind}
            self._offer(kind, list(byName))
            for index, name in enumerate(self._names[kind]):
                if name in byName:
                    box.setItemText(index, f"{name} ({byName[name]['state']})")
        devices = ", ".join(device["title"] for device in fields["devices"])
        ui.modelsLabel.text = _("Devices: {devices}. PyTorch {torch}, built for {built}.").format(
            devices=devices, torch=fields["torch"], built=fields["built_for"]
        )
        self.update()

    def _offer(self, kind: str, names: list[str]) -> None:
        """Put models that are not of the catalogue, such as fine-tuned ones, into the box to choose from."""
        for name in names:
            if name not in self._names[kind]:
                self._names[kind].append(name)
                (self._panel.ui.clipBox if kind == "clip" else self._panel.ui.samBox).addItem(name)
                self._panel.bindings.update()

    def _chosen(self) -> dict | None:
        row = self._panel.ui.modelsTable.currentRow()
        return self._states[row] if 0 <= row < len(self._states) else None

    def _folderChanged(self, path: str) -> None:
        self._panel.machine.set("ModelsFolder", path)
        self._asked = False

    def _commandChanged(self) -> None:
        command = self._panel.ui.remoteEdit.text.strip()
        if command == self._panel.machine.get("WorkerCommand"):
            return
        self._panel.machine.set("WorkerCommand", command)
        self._panel.logic.cancel()
        self._panel.logic.client.shutdown()  # the next request starts the new one
        self._client.shutdown()
        self._asked = False
