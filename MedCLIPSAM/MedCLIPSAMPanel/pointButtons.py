"""Points: a click inside or outside refines the chosen segment on the clicked slice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import qt
import slicer
import slicer.util
from MedCLIPSAMScene import markups, segmentTags
from MedCLIPSAMScene.placing import Placing
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.errors import MedCLIPSAMError

from .enabling import enable
from .inputSection import sliceNodeOf, sliceViewNames

ON_SLICE_MM = 0.1
"""Maximum distance, in mm, of a point from the plane of the view that it was placed in."""


class PointButtons:
    """Buttons that place points, and the refinement that follows each of them.

    Args:
        corrections: the section that they belong to.
    """

    def __init__(self, panel, corrections) -> None:
        self._panel, self._corrections, ui = panel, corrections, panel.ui
        self._observed: list[tuple] = []
        self._used: set[str] = set()
        self._next: _Target | None = None
        self._placing = Placing(self._release)
        ui.insideButton.connect("toggled(bool)", lambda on: self._place(markups.POSITIVE, on))
        ui.outsideButton.connect("toggled(bool)", lambda on: self._place(markups.NEGATIVE, on))
        ui.clearPointsButton.connect("clicked(bool)", self._clear)

    def update(self, reason: str) -> None:
        """Enable the buttons, or disable them for a reason."""
        ui = self._panel.ui
        for button in (ui.insideButton, ui.outsideButton, ui.clearPointsButton):
            enable(button, reason)
        if reason:
            self._placing.stop()

    def stop(self) -> None:
        """Release the mouse."""
        self._placing.stop()

    def forget(self) -> None:
        """Release the point lists of a scene before it is closed."""
        self._placing.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._used, self._next = [], set(), None

    def dropUndone(self) -> None:
        """Remove points whose correction was undone, and points of other segments than the chosen one."""
        parameters, segment = self._panel.parameters, self._corrections.segment()
        if parameters.inputVolume is not None and segment is not None:
            self._keepPointsOf(parameters.inputVolume, parameters.segmentation, segment)

    def _keepPointsOf(self, volume, segmentation, segment: str | None) -> None:
        """Remove the points that corrected segments, except those that belong to the current state of this segment.

        These include points that were used before the scene was saved.
        """
        own = set(segmentTags.pointsOf(segmentation, segment)) if segment is not None else set()
        others = (self._used | segmentTags.pointsInScene()) - own
        self._used &= own
        markups.removePoints(volume, others)

    def refine(self, plane: str, number: int) -> None:
        """Refine the chosen segment on a slice from its mask and the points on it.

        A click while SAM is working is handled afterwards, for the segment that was chosen when it was made.
        """
        parameters = self._panel.parameters
        target = _Target(parameters.inputVolume, parameters.segmentation, self._corrections.segment(), plane, number)
        if self._panel.busy:
            self._next = target
        else:
            self._refine(target)

    def _refine(self, target: _Target) -> None:
        panel = self._panel
        self._next = None
        self._keepPointsOf(target.volume, target.segmentation, target.segment)
        slices = SceneSlices(target.volume, target.plane)
        points, labels, marks = markups.points(slices, target.number)

        def start(finished, progressed):
            def ended(result, error) -> None:
                if error is not None:
                    self._next = None  # after a failure or a cancellation
                finished(result, error)

            return panel.operations.refine.start(
                target.segmentation,
                target.segment,
                slices,
                target.number,
                points,
                labels,
                marks,
                finished=ended,
                progressed=progressed,
                name=panel.prompts.firstName(),
            )

        def show(result) -> None:
            panel.results.showText(result)
            self._used.update(marks)
            # The selectors may already have chosen a new segmentation by themselves.
            chosen = panel.parameters.segmentation in (target.segmentation, result.segmentation)
            if chosen and self._corrections.segment() is None:
                panel.results.take(result)
            if self._next is not None:
                following = self._next
                qt.QTimer.singleShot(0, lambda: self._takeUp(following))

        if not panel.run(start, show):
            self._removeSoon(slices.volumeNode, set(marks) - self._used)

    def _takeUp(self, target: _Target) -> None:
        """Handle a click that was made while SAM was working, unless its nodes are gone."""
        if self._next is not target or self._panel.busy:
            return
        # If there was no segment at the click, the refinement before it has made the segment.
        target = replace(
            target,
            segmentation=target.segmentation or self._panel.parameters.segmentation,
            segment=target.segment or self._corrections.segment(),
        )
        if all(node and slicer.mrmlScene.IsNodePresent(node) for node in (target.volume, target.segmentation)):
            self._panel.attempt(lambda: self._refine(target))

    def _place(self, kind: str, on: bool) -> None:
        ui = self._panel.ui
        if not on:
            if not (ui.insideButton.checked or ui.outsideButton.checked):
                self._placing.stop()
            return
        ui.segmentEditor.setActiveEffectByName("")
        node = markups.pointList(self._panel.parameters.inputVolume, kind)
        if all(observed is not node for observed, _tag in self._observed):
            event = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
            self._observed.append((node, node.AddObserver(event, lambda caller, _event: self._placed(caller))))
        self._placing.start(node)
        (ui.outsideButton if kind == markups.POSITIVE else ui.insideButton).checked = False

    def _release(self) -> None:
        """Release the buttons after placing has ended by any means."""
        self._panel.ui.insideButton.checked = self._panel.ui.outsideButton.checked = False

    def _placed(self, node) -> None:
        position, volume = markups.lastPlaced(node), node.GetNodeReference(markups.VOLUME)
        try:
            self.refine(*self._sliceAt(position))
        except MedCLIPSAMError as error:
            self._panel.say(str(error))
            if volume is not None:
                self._removeSoon(volume, {markups.mark(label, position.tolist()) for label in (0, 1)})

    @staticmethod
    def _removeSoon(volume, marks: set[str]) -> None:
        """Remove refused points after the current event, because the view that placed one is still handling it."""
        qt.QTimer.singleShot(0, lambda: markups.removePoints(volume, marks))

    def _sliceAt(self, world) -> tuple[str, int]:
        """Find the slice that a point is on, in the plane of the view that it was placed in.

        That is the view under the mouse, otherwise a view whose slice it lies on. If there is none, as for a click in a
        3D view, it is the chosen view.

        Raises:
            InputError: none of these views shows a slice of the volume.
        """
        inputs, chosen = self._panel.inputs, self._panel.parameters.view
        for name in (self._viewUnderMouse(), chosen, *sliceViewNames()):
            node = sliceNodeOf(name)
            if node is None or not _liesIn(node, world):
                continue
            try:
                plane, _number = inputs.shown(name)
            except MedCLIPSAMError:
                continue
            break
        else:
            plane, _number = inputs.shown(chosen)
        return plane, round(SceneSlices(self._panel.parameters.inputVolume, plane).toImage(world)[0])

    @staticmethod
    def _viewUnderMouse() -> str:
        """Return the name of the slice view that the mouse is in; empty if it is in none."""
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        node = crosshair.GetCursorPositionXYZ([0.0, 0.0, 0.0]) if crosshair is not None else None
        return node.GetLayoutName() if node is not None else ""

    def _clear(self) -> None:
        self._used.clear()
        markups.clearPoints(self._panel.parameters.inputVolume)


@dataclass(frozen=True)
class _Target:
    """The target of a click: a slice of a segment, or of a new one if none is chosen."""

    volume: object
    segmentation: object
    segment: str | None
    plane: str
    number: int


def _liesIn(sliceNode, world) -> bool:
    """Return whether a point (world RAS, mm) is on the slice of a view."""
    matrix = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())
    return abs((matrix[:3, 2] * (world - matrix[:3, 3])).sum()) < ON_SLICE_MM
