"""Prompt: what to segment, presets, history, and the buttons that start and cancel the run."""

from __future__ import annotations

from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.segmentation.prompts import load_prompt_sets

from .enabling import enable
from .parameters import Strategy, engineSettings, promptLines
from .runStatus import RunStatus


class PromptSection:
    """The second section of the panel."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        ui.promptEdit.setMaximumHeight(72)
        ui.presetBox.addItem(_("Presets"))
        self._presets = [""]
        for promptSet in load_prompt_sets().values():
            ui.presetBox.addItem(f"{promptSet.target} ({promptSet.modality})")
            self._presets.append(promptSet.target)
        ui.presetBox.connect("activated(int)", self._takePreset)
        ui.historyBox.connect("activated(int)", self._takeHistory)
        ui.segmentButton.connect("clicked(bool)", self.segment)
        ui.cancelButton.connect("clicked(bool)", panel.session.cancel)
        ui.hideHintButton.connect("clicked(bool)", self._hideHint)
        ui.hintFrame.setVisible(not panel.machine.get("HintSeen"))
        self.status = RunStatus(ui.statusLabel, ui.progressBar)
        self._shownReason: str | None = ""  # None while the label shows how a run proceeds or how it ended
        self._fillHistory()

    def prompts(self) -> list[str]:
        """Return the structures to segment."""
        return promptLines(self._panel.parameters.prompts)

    def firstName(self) -> str:
        """Return the first structure, which names a segment marked by hand; empty if none is typed."""
        return next(iter(self.prompts()), "")

    def whyNot(self) -> str:
        """Return why no run can be started now; empty if one can."""
        if busy := self._panel.whyBusy():
            return busy
        if lacking := self._panel.installation.whyLacking():
            return lacking
        if self._panel.parameters.inputVolume is None:
            return _("Choose an input volume first, or load one from Sample Data.")
        if not self.prompts():
            return _("Type what to segment first, such as 'brain tumor'.")
        return ""

    def update(self) -> None:
        """Enable the possible actions, and warn about missing packages and models not trained on such images."""
        ui, reason, busy = self._panel.ui, self.whyNot(), self._panel.busy
        enable(ui.segmentButton, reason)
        enable(ui.cancelButton, "" if busy else _("Nothing is running."))
        ui.progressBar.setVisible(busy)
        warning = self._panel.installation.warning() or self._panel.models.warning(self._panel.parameters.inputVolume)
        ui.warningLabel.text = warning
        ui.warningLabel.setVisible(bool(warning))
        shown = "" if reason == self._panel.installation.whyLacking() else reason
        if busy and ui.statusLabel.text != self._shownReason:
            self._shownReason = None
        elif not busy and shown != self._shownReason:
            if self._shownReason is not None or not ui.statusLabel.text:  # keep the message on how a run ended
                ui.statusLabel.text = shown
            self._shownReason = shown

    def segment(self) -> None:
        """Start to segment the prompts of the panel."""
        if self.whyNot():
            return
        panel, parameters = self._panel, self._panel.parameters
        prompts = self.prompts()

        def start(finished, progressed):
            plane, numbers = panel.inputs.slices()
            what = parameters.inputVolume, prompts, parameters.segmentation, str(plane), numbers
            how = parameters.negative.strip() or None, engineSettings(parameters.method)
            if parameters.strategy == Strategy.SLICES or len(numbers) == 1:
                return panel.operations.segment.start(*what, *how, finished=finished, progressed=progressed)
            method = str(parameters.strategy)
            return panel.operations.propagate.start(*what, *how, method, finished=finished, progressed=progressed)

        if panel.run(start, panel.results.show):
            self._hideHint()
            panel.content.setFocus()  # with the focus in the text, Ctrl+Z would undo typing
            panel.machine.remember(prompts)
            self._fillHistory()

    def beginScene(self) -> None:
        """Clear the messages about the previous scene."""
        self._panel.ui.statusLabel.text = self._shownReason = ""

    def _hideHint(self) -> None:
        self._panel.machine.set("HintSeen", "yes")
        self._panel.ui.hintFrame.setVisible(False)

    def _takePreset(self, index: int) -> None:
        if index > 0:
            present = self.prompts()
            added = [] if self._presets[index] in present else [self._presets[index]]
            self._panel.parameters.prompts = "\n".join(present + added)
        self._panel.ui.presetBox.setCurrentIndex(0)

    def _takeHistory(self, index: int) -> None:
        if index > 0:
            self._panel.parameters.prompts = self._history[index].replace(" | ", "\n")
        self._panel.ui.historyBox.setCurrentIndex(0)

    def _fillHistory(self) -> None:
        self._history = ["", *self._panel.machine.history()]
        box = self._panel.ui.historyBox
        box.clear()
        box.addItems([_("History"), *self._history[1:]])
