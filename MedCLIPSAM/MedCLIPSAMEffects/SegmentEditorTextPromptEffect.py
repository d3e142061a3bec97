"""The text prompt as an effect of Slicer's Segment Editor.

Slicer loads this file by its path, names its module after the folder, and makes one object of the class per editor.
"""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
import slicer.util
from MedCLIPSAMPanel.enabling import enable
from MedCLIPSAMPanel.inputSection import shownInView, sliceViewNames
from MedCLIPSAMPanel.parameters import Strategy, engineSettings
from MedCLIPSAMPanel.runStatus import RunStatus
from MedCLIPSAMScene import dependencies, modelFacts, protect, segments
from MedCLIPSAMScene.editedSegment import writeByEditor
from MedCLIPSAMScene.machineSettings import MachineSettings
from MedCLIPSAMScene.sequences import itemOf
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect

from MedCLIPSAMLib.errors import InputError

VIEW, VOLUME = "view", "volume"
"""First word of the parameter "Where"; the second word is the name of the view, or the plane of the slices."""
ICON = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "TextPrompt.png"


class SegmentEditorTextPromptEffect(AbstractScriptedSegmentEditorEffect):
    """Effect that replaces the mask of the selected segment by what a prompt names.

    The worker, the models and the settings are those of the module's panel.
    """

    def __init__(self, scriptedEffect) -> None:
        scriptedEffect.name = "Text prompt (MedCLIPSAM)"  # not translated, because effects are found by their name
        scriptedEffect.title = _("Text prompt (MedCLIPSAM)")
        scriptedEffect.showEffectCursorInSliceView = False
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)
        self._running = False
        self._lacking: list[dependencies.Dependency] = []

    def clone(self):
        """Return a new effect for another editor."""
        from qSlicerSegmentationsEditorEffectsPythonQt import qSlicerSegmentEditorScriptedEffect

        another = qSlicerSegmentEditorScriptedEffect(None)
        another.setPythonSource(Path(__file__).as_posix())
        return another

    def icon(self):
        """Return the icon of the effect's button."""
        return qt.QIcon(str(ICON))

    def helpText(self) -> str:
        """Return the help that the editor shows."""
        return _(
            "<html>Type what the selected segment is, such as <b>brain tumor</b>, and press <b>Apply</b> or Enter: "
            "BiomedCLIP finds where the image matches the words, and SAM 2 outlines it.<p>"
            "On the chosen slices the segment becomes the mask that was found; its other slices stay. "
            "Where nothing is found it stays as it is. The editor's masking and its undo apply.<p>"
            "Example: add a segment, show the slice in the Red view, type <i>brain tumor</i>, Apply; then choose "
            "<i>whole volume, axial slices</i> and apply again.<p>"
            "Models, device, <i>How</i> and the settings of the method are those of the module MedCLIPSAM; "
            "its <i>Not</i> is not used. "
            "For research only, not for diagnosis.</html>"
        )

    def setupOptionsFrame(self) -> None:
        """Create the widgets."""
        self.promptEdit = qt.QLineEdit()
        self.promptEdit.setPlaceholderText(_("such as: brain tumor"))
        self.promptEdit.setToolTip(_("What the selected segment is, in words."))
        self.whereBox = qt.QComboBox()
        self.whereBox.setToolTip(
            _("The slice that a view shows, or all slices of the volume, segmented as 'How' in the module says.")
        )
        self.applyButton, self.cancelButton = qt.QPushButton(_("Apply")), qt.QPushButton(_("Cancel"))
        self.applyButton.setToolTip(_("Replace the selected segment on these slices by what the prompt names."))
        self.progressBar = qt.QProgressBar()
        self.progressBar.setMaximum(1000)
        self.progressBar.setVisible(False)
        self.warningLabel, self.statusLabel = qt.QLabel(), qt.QLabel()
        self.researchLabel = qt.QLabel(_("For research only, not for diagnosis."))
        for label in (self.warningLabel, self.statusLabel, self.researchLabel):
            label.setWordWrap(True)
            label.setTextFormat(qt.Qt.PlainText)  # names and messages are not HTML
        self.warningLabel.setStyleSheet("font-weight: bold;")  # in the color of the theme, light or dark
        buttons = qt.QHBoxLayout()
        buttons.addWidget(self.applyButton)
        buttons.addWidget(self.cancelButton)
        self.scriptedEffect.addLabeledOptionsWidget(_("Prompt:"), self.promptEdit)
        self.scriptedEffect.addLabeledOptionsWidget(_("Where:"), self.whereBox)
        self.scriptedEffect.addOptionsWidget(buttons)
        for widget in (self.progressBar, self.warningLabel, self.statusLabel, self.researchLabel):
            self.scriptedEffect.addOptionsWidget(widget)
        self._status = RunStatus(self.statusLabel, self.progressBar)
        self.layoutChanged()
        self._connections = (
            (self.promptEdit, "textChanged(QString)", self.updateMRMLFromGUI),
            (self.promptEdit, "returnPressed()", self.onApply),
            (self.whereBox, "currentIndexChanged(int)", self.updateMRMLFromGUI),
            (self.applyButton, "clicked()", self.onApply),
            (self.cancelButton, "clicked()", self.onCancel),
        )
        for widget, signal, slot in self._connections:
            widget.connect(signal, slot)

    def cleanup(self) -> None:
        """Cancel the run and disconnect the widgets before the editor is deleted."""
        self.onCancel()
        self._status.close()
        for widget, signal, slot in self._connections:
            widget.disconnect(signal, slot)

    def activate(self) -> None:
        """Show the current choices of the panel, and the current layout.

        Effects are told of a change of the layout only while one of them is active.
        """
        self.layoutChanged()
        self._lacking = dependencies.missing()
        self._update()

    def deactivate(self) -> None:
        """Cancel the run, because another effect was chosen."""
        self.onCancel()

    def interactionNodeModified(self, _interactionNode) -> None:
        """Stay active and let the run continue while the user sets brightness and contrast or places markups.

        Slicer deactivates effects that do not override this method. This effect does not use the mouse in the views.
        """

    def layoutChanged(self) -> None:
        """Offer the slice views of the layout, and the whole volume."""
        blocked = self.whereBox.blockSignals(True)
        self.whereBox.clear()
        for name in sliceViewNames():
            self.whereBox.addItem(_("slice shown in {view}").format(view=name), f"{VIEW} {name}")
        for plane, title in (("axial", _("axial")), ("coronal", _("coronal")), ("sagittal", _("sagittal"))):
            self.whereBox.addItem(_("whole volume, {plane} slices").format(plane=title), f"{VOLUME} {plane}")
        self.whereBox.blockSignals(blocked)
        if self.scriptedEffect.parameterSetNode() is not None:
            self.updateGUIFromMRML()

    def setMRMLDefaults(self) -> None:
        """Begin with the slice in the first view and no prompt."""
        self.scriptedEffect.setParameterDefault("Where", f"{VIEW} Red")

    def sourceVolumeNodeChanged(self) -> None:
        """Update the warning for another source volume."""
        if self.scriptedEffect.active():
            self._update()

    def updateGUIFromMRML(self) -> None:
        """Show the parameters."""
        effect = self.scriptedEffect
        # Slicer treats a parameter with an empty value as absent.
        prompt = effect.parameter("Prompt") if effect.parameterDefined("Prompt") else ""
        where = max(self.whereBox.findData(effect.parameter("Where")), 0)
        for widget, show in (
            (self.promptEdit, lambda: self.promptEdit.text == prompt or self.promptEdit.setText(prompt)),
            (self.whereBox, lambda: self.whereBox.setCurrentIndex(where)),
        ):
            blocked = widget.blockSignals(True)
            show()
            widget.blockSignals(blocked)
        if effect.active():
            self._update()

    def updateMRMLFromGUI(self, *_arguments) -> None:
        """Store the parameters."""
        self.scriptedEffect.setParameter("Prompt", self.promptEdit.text)
        self.scriptedEffect.setParameter("Where", self._where())

    def onApply(self) -> None:
        """Start to segment the prompt."""
        if self._whyNot() or not self.scriptedEffect.confirmCurrentSegmentVisible():
            return
        self._panel().run(self._start, lambda result: self._status.end(result.text()), self)

    def onCancel(self) -> None:
        """Cancel the run; the segment stays as it was."""
        if self._running:
            self._panel().session.cancel()

    # Called by `panel.run`

    def begin(self) -> None:
        """Show that the run has begun."""
        self._running = True
        self.scriptedEffect.optionsFrame().setFocus()  # with the focus in the text, Ctrl+Z would undo typing
        self._status.begin()
        self._update()

    def progress(self, fraction: float, stage: str) -> None:
        """Show how far the run is."""
        self._status.progress(fraction, stage)

    def end(self, text: str) -> None:
        """Show how the run ended."""
        self._running = False
        self._status.end(text)
        self._update()

    def _start(self, finished, progressed):
        panel, node, prompt = self._panel(), self.scriptedEffect.parameterSetNode(), self.promptEdit.text
        volume, segmentation = node.GetSourceVolumeNode(), node.GetSegmentationNode()
        segmentId = _selected(node)
        kind, name = self._where().split(" ", 1)
        plane, number = shownInView(volume, name) if kind == VIEW else (name, None)
        segments.requireItemOf(segmentation, segmentId, itemOf(volume))
        protect.requireUnlocked(segmentation, segmentId, plane, () if number is None else [number], volume)
        write = lambda found: writeByEditor(self.scriptedEffect, segmentation, segmentId, found)
        operations, how = panel.operations, panel.parameters.strategy
        what = volume, [prompt], segmentation, plane
        common = {
            "settings": engineSettings(panel.parameters.method),
            "finished": finished,
            "progressed": progressed,
            "write": write,
        }
        if number is None and how != Strategy.SLICES:
            return operations.propagate.start(*what, method=str(how), **common)
        numbers = [number] if number is not None else range(len(SceneSlices(volume, plane)))
        return operations.segment.start(*what, numbers, keepSaliency=False, **common)

    def _where(self) -> str:
        return self.whereBox.itemData(self.whereBox.currentIndex)

    def _whyNot(self) -> str:
        """Return why the effect cannot be applied now; empty if it can."""
        if self._running:
            return _("A run is not finished.")
        if not self.promptEdit.text.strip():
            return _("Type what the segment is first, such as 'brain tumor'.")
        return ""

    def _update(self) -> None:
        """Enable the possible actions, and warn about missing packages and models not trained on such images."""
        enable(self.applyButton, self._whyNot())
        enable(self.cancelButton, "" if self._running else _("Nothing is running."))
        self.progressBar.setVisible(self._running)
        # Only an existing panel is used: an effect that is activated while the panel is built must not build another.
        panel = getattr(slicer.modules, "MedCLIPSAMWidget", None)
        volume = self.scriptedEffect.parameterSetNode().GetSourceVolumeNode()
        ready = panel is not None and panel.parameters is not None
        warning = dependencies.warning(self._lacking, MachineSettings().get("WorkerCommand")) or (
            panel.models.warning(volume)
            if panel is not None and ready
            else modelFacts.syntheticWarning(volume, modelFacts.factsInScene())
        )
        self.warningLabel.text = warning
        self.warningLabel.setVisible(bool(warning))

    @staticmethod
    def _panel():
        """Return the module's panel, which is created if the module was never opened."""
        return slicer.util.getModuleWidget("MedCLIPSAM")


def _selected(node) -> str:
    """Return the id of the segment selected in an editor.

    Raises:
        InputError: there is none.
    """
    segmentation, segmentId = node.GetSegmentationNode(), node.GetSelectedSegmentID() or ""
    segments.requireSegmentation(segmentation)
    if segmentation.GetSegmentation().GetSegmentIndex(segmentId) < 0:
        raise InputError(_("No segment is selected."), _("Select the segment that the prompt names, or add one."))
    return segmentId
