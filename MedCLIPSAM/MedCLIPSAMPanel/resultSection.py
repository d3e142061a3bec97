"""Result: what was found and how sure that is, the saliency map, and the boxes that SAM was given."""

from __future__ import annotations

from MedCLIPSAMScene import markups, overlay
from MedCLIPSAMScene.results import SceneResult
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import MedCLIPSAMError


class ResultSection:
    """The third section of the panel."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        panel.bindings.property(ui.saliencyCheckBox, "checked", "toggled(bool)", "showSaliency")
        panel.bindings.property(ui.saliencySlider, "value", "valueChanged(double)", "saliencyFrom")
        ui.addBoxButton.connect("clicked(bool)", lambda *_arguments: self._addBox())
        ui.removeBoxesButton.connect("clicked(bool)", lambda *_arguments: self._removeBoxes())
        ui.segmentBoxesButton.connect("clicked(bool)", lambda *_arguments: self._segmentFromBoxes())

    def update(self) -> None:
        """Show or hide the saliency map as chosen, and enable what can be done."""
        ui, parameters = self._panel.ui, self._panel.parameters
        volume = parameters.inputVolume
        free = volume is not None and not self._panel.busy
        for button in (ui.addBoxButton, ui.removeBoxesButton):
            button.enabled = free
        ui.segmentBoxesButton.enabled = free and self._panel.corrections.segment() is not None
        ui.segmentBoxesButton.toolTip = (
            _("Outline anew what is in the boxes, which can be dragged in the slice views")
            if ui.segmentBoxesButton.enabled
            else _("Choose the segment to outline below, or segment with a prompt first.")
        )
        self._panel.logic.saliencyThreshold = parameters.saliencyFrom / 100
        if volume is not None:
            shown = overlay.saliencyOf(volume)
            if shown is not None:
                overlay.setThreshold(shown, parameters.saliencyFrom / 100)
            overlay.showSaliency(volume, parameters.showSaliency)

    def show(self, result: SceneResult) -> None:
        """Show a finished run."""
        panel = self._panel
        panel.ui.resultLabel.text = result.text()
        if result.segmentation is not None:
            panel.parameters.segmentation = result.segmentation
        found = next((each for each in result.prompts if each.segmentId), None)
        if found is not None:
            panel.corrections.choose(found.segmentId)
            if len(found.boxes):
                slices = SceneSlices(panel.parameters.inputVolume, result.plane)
                markups.showBoxes(slices, found.bestSlice, found.boxes)
        elif panel.parameters.inputVolume is not None:
            markups.removeBoxes(panel.parameters.inputVolume)

    def _addBox(self) -> None:
        def add() -> None:
            plane, number = self._panel.inputs.shown()
            slices = SceneSlices(self._panel.parameters.inputVolume, plane)
            height, width = slices.stack.picture_shape
            present = len(markups.markupsOf(slices.volumeNode, markups.BOX))
            markups.addBox(slices, number, (0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height), present + 1)

        self._panel.attempt(add)

    def _removeBoxes(self) -> None:
        markups.removeBoxes(self._panel.parameters.inputVolume)

    def _segmentFromBoxes(self) -> None:
        panel = self._panel

        def start(finished):
            volume = panel.parameters.inputVolume
            try:
                plane = panel.inputs.shown()[0]
            except MedCLIPSAMError:  # the view shows another volume or none
                plane = panel.parameters.plane
            slices = SceneSlices(volume, plane)
            return panel.logic.startFromBoxes(
                panel.parameters.segmentation, panel.corrections.segment(), slices, markups.boxes(slices), finished
            )

        panel.run(start, lambda result: setattr(panel.ui.resultLabel, "text", result.text()))
