"""Result: the segments and their scores, the maps over the image, and SAM's boxes."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk
from MedCLIPSAMScene import markups, overlay, segmentTags
from MedCLIPSAMScene.results import SceneResult
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import InputError

from .enabling import enable
from .observed import Observed
from .resultWords import describe, describeStored, listNotes


class ResultSection:
    """The third section of the panel.

    Attributes:
        covers: whether the section shows a map over the input volume.
    """

    def __init__(self, panel) -> None:
        self._panel, ui, self.covers = panel, panel.ui, False
        self._shownState: tuple | None = None
        events = slicer.vtkMRMLTransformableNode.TransformModifiedEvent, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
        self._mapped = Observed((vtk.vtkCommand.ModifiedEvent, *events), self._volumeModified)
        self._showsRun = False  # whether the last run is shown, or what is stored with the chosen segment
        ui.addBoxButton.connect("clicked(bool)", self._addBox)
        ui.removeBoxesButton.connect("clicked(bool)", self._removeBoxes)
        ui.segmentBoxesButton.connect("clicked(bool)", self._segmentFromBoxes)

    def update(self) -> None:
        """Show or hide the maps as chosen, and enable the possible actions."""
        ui, parameters = self._panel.ui, self._panel.parameters
        if not self._showsRun:
            self._showKept()
        volume = parameters.inputVolume
        reason = _("Choose an input volume first.") if volume is None else self._panel.whyBusy()
        for button in (ui.addBoxButton, ui.removeBoxesButton, ui.segmentBoxesButton):
            enable(button, reason)
        self._mapped.follow(overlay.mappedVolumes())
        _volume, saliency, vote, _unsure = nodes = self._maps()
        noVote = _(
            "There is no map of a vote: choose a vote under Settings, then segment one slice, or a few slices, each on "
            "its own."
        )
        enable(ui.uncertaintyCheckBox, "" if vote else noVote)
        uncertain = bool(vote) and parameters.showUncertainty
        enable(ui.saliencyCheckBox, _("The uncertainty is shown instead: hide it first.") if uncertain else "")
        if saliency is not None:
            overlay.setThreshold(saliency, parameters.saliencyFrom / 100)
        self.covers = uncertain or (saliency is not None and parameters.showSaliency)
        # Only if something has changed: otherwise the user chooses the foreground of the views.
        state = *map(_idOf, nodes), parameters.showSaliency, uncertain
        if state != self._shownState:
            self._shownState = state
            overlay.hideStrayMaps()
            overlay.showMap(volume, overlay.VOTE, uncertain)
            overlay.showMap(volume, overlay.SALIENCY, parameters.showSaliency and not uncertain)

    def close(self) -> None:
        """Release the volumes before the panel is removed."""
        self._mapped.follow([])

    def _volumeModified(self, volume, _event) -> None:
        """Move the maps of a volume with it, and hide them while it holds another image."""
        overlay.followVolume(volume)
        overlay.hideStrayMaps()
        if self._shownState is not None and tuple(map(_idOf, self._maps())) != self._shownState[:4]:
            self._panel.update()

    def _maps(self) -> tuple:
        """Return the input volume and the maps of the image that it holds, each None if there is none."""
        volume = self._panel.parameters and self._panel.parameters.inputVolume
        return volume, *(overlay.mapShown(volume, role) for role in overlay.MAPS)

    def show(self, result: SceneResult) -> None:
        """Show a finished run, and choose the segment that it made."""
        panel = self._panel
        self._shownState = None
        threshold = panel.parameters.method.presence
        self._say(describe(result, panel.session.models[:2], threshold), result.allNotes)
        found = next((prompt for prompt in result.prompts if prompt.segmentId), None)
        if found is None or not len(found.boxes):
            markups.removeBoxes(result.volume)
        else:
            markups.showBoxes(
                SceneSlices(result.volume, result.plane), found.bestSlice, found.boxes, found.segmentId or ""
            )
        self.take(result)

    def take(self, result: SceneResult) -> None:
        """Choose the segmentation that a run has written to, and the first segment that it found.

        Nothing is chosen while an effect of the editor is active, because a brush stroke that is being painted would go
        into another segment.
        """
        panel = self._panel
        if panel.ui.segmentEditor.activeEffect() is not None:
            return
        if result.segmentation is not None and panel.parameters.inputVolume is result.volume:
            panel.parameters.segmentation = result.segmentation
            found = next((prompt for prompt in result.prompts if prompt.segmentId), None)
            if found is not None:
                panel.corrections.choose(found.segmentId)

    def showText(self, result: SceneResult) -> None:
        """Show the message of a correction."""
        self._say(result.answer, result.allNotes)

    def clear(self) -> None:
        """Clear the last result, because a new run has begun, it was undone, or the scene has changed."""
        self._showsRun = False
        self._showKept()

    def _say(self, answer: str, notes: Sequence[str]) -> None:
        self._showsRun = True
        self._write(answer, notes)

    def _showKept(self) -> None:
        """Show what is stored with the chosen segment, which may be from an earlier session."""
        panel = self._panel
        node, segment = panel.parameters and panel.parameters.segmentation, panel.corrections.segment()
        stored = segmentTags.tags(node.GetSegmentation().GetSegment(segment)) if node is not None and segment else {}
        if segmentTags.PROMPT_TAG in stored:
            self._write(describeStored(stored), segmentTags.notesOf(node, segment))
        else:
            self._write(_("A run has not ended yet.") if panel.busy else _("No result yet."), ())

    def _write(self, answer: str, notes: Sequence[str]) -> None:
        ui = self._panel.ui
        ui.resultLabel.text, ui.notesLabel.text = answer, listNotes(notes)
        ui.notesLabel.setVisible(bool(notes))

    def _addBox(self) -> None:
        def add() -> None:
            plane, number = self._panel.inputs.shown()
            slices = SceneSlices(self._panel.parameters.inputVolume, plane)
            height, width = slices.stack.image_shape
            present = len(markups.markupsOf(slices.volumeNode, markups.BOX))
            markups.addBox(slices, number, (0.4 * width, 0.4 * height, 0.6 * width, 0.6 * height), present + 1)

        self._panel.attempt(add)

    def _removeBoxes(self) -> None:
        markups.removeBoxes(self._panel.parameters.inputVolume)

    def _segmentFromBoxes(self) -> None:
        panel = self._panel

        def start(finished, progressed):
            volume, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
            plane, number = panel.inputs.shown()
            segment = panel.corrections.segment()
            others = markups.segmentsOfBoxes(volume) - {segment}
            if others:
                named = segmentation and segmentation.GetSegmentation().GetSegment(others.pop())
                raise InputError(
                    _("The boxes are those of '{name}'.").format(
                        name=named.GetName() if named else _("another segment")
                    ),
                    _("Choose that segment, or remove the boxes and add new ones."),
                )
            slices = SceneSlices(volume, plane)
            shown = {k: boxes for k, boxes in markups.boxes(slices).items() if k == number}
            return panel.operations.refine.startFromBoxes(
                segmentation,
                segment,
                slices,
                shown,
                finished=finished,
                progressed=progressed,
                name=panel.prompts.firstName(),
            )

        def show(result: SceneResult) -> None:
            self.showText(result)
            self.take(result)

        panel.run(start, show)


def _idOf(node) -> str | None:
    return node.GetID() if node is not None else None
