"""Points: a click inside or outside outlines the chosen segment anew on the slice that was clicked."""

from __future__ import annotations

import qt
import slicer
import slicer.util
from MedCLIPSAMScene import markups, segments
from MedCLIPSAMScene.placing import Placing
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import MedCLIPSAMError

from .enabling import enable

ON_SLICE_MM = 0.1
"""A point this near to the plane of a view was placed in that view."""


class PointButtons:
    """Buttons that place points, and the refinement that follows each of them.

    Args:
        corrections: the section that they belong to.
    """

    def __init__(self, panel, corrections) -> None:
        self._panel, self._corrections, ui = panel, corrections, panel.ui
        self._observed: list[tuple] = []
        self._used: set[str] = set()
        self._again: tuple[str, int] | None = None
        self._placing = Placing(self._release)
        ui.insideButton.connect("toggled(bool)", lambda on: self._place(markups.POSITIVE, on))
        ui.outsideButton.connect("toggled(bool)", lambda on: self._place(markups.NEGATIVE, on))
        ui.clearPointsButton.connect("clicked(bool)", lambda *_arguments: self._clear())

    def update(self, reason: str) -> None:
        """Enable the buttons, or say why not."""
        ui = self._panel.ui
        for button in (ui.insideButton, ui.outsideButton, ui.clearPointsButton):
            enable(button, reason)
        if reason:
            self._placing.stop()

    def stop(self) -> None:
        """Give the mouse back to the views."""
        self._placing.stop()

    def forget(self) -> None:
        """Let go of the point lists of a scene before it is closed."""
        self._placing.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed, self._used, self._again = [], set(), None

    def dropUndone(self) -> None:
        """Remove points whose correction was taken back; a segment knows those that made it."""
        volume, segment = self._panel.parameters.inputVolume, self._corrections.segment()
        if volume is None or segment is None or not self._used:
            return
        undone = self._used - set(segments.pointsOf(self._panel.parameters.segmentation, segment))
        self._used -= undone
        markups.removePoints(volume, undone)

    def refine(self, plane: str, number: int) -> None:
        """Outline the chosen segment anew on a slice, from its mask and the points on it.

        Clicks that come while SAM works are taken up after it.
        """
        panel = self._panel
        if panel.busy:
            self._again = plane, number
            return
        self._again = None
        self.dropUndone()  # points that corrected another segment are not this one's
        slices = SceneSlices(panel.parameters.inputVolume, plane)
        points, labels, marks = markups.points(slices, number)
        segment = self._corrections.segment() or panel.operations.addSegment(
            panel.parameters.segmentation, _("Segment")
        )

        def start(finished, progressed):
            return panel.operations.refine.start(
                panel.parameters.segmentation,
                segment,
                slices,
                number,
                points,
                labels,
                marks,
                finished=finished,
                progressed=progressed,
            )

        def show(result) -> None:
            panel.results.showText(result)
            self._used.update(marks)
            self._corrections.choose(segment)
            if self._again is not None:
                again, self._again = self._again, None
                qt.QTimer.singleShot(0, lambda: panel.attempt(lambda: self.refine(*again)))

        if not panel.run(start, show):
            # Not at once: the view that placed the point is not done with it yet.
            refused = set(marks) - self._used
            qt.QTimer.singleShot(0, lambda: markups.removePoints(slices.volumeNode, refused))

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
        """Release the buttons when placing has ended, by whatever means."""
        self._panel.ui.insideButton.checked = self._panel.ui.outsideButton.checked = False

    def _placed(self, node) -> None:
        position = markups.lastPlaced(node)
        self._panel.attempt(lambda: self.refine(*self._sliceAt(position)))

    def _sliceAt(self, world) -> tuple[str, int]:
        """Find the slice that a point lies on: views of all three planes may be shown."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            if abs((matrix[:3, 2] * (world - matrix[:3, 3])).sum()) < ON_SLICE_MM:
                try:
                    plane, _number = self._panel.inputs.shown(node.GetLayoutName())
                except MedCLIPSAMError:
                    continue
                slices = SceneSlices(self._panel.parameters.inputVolume, plane)
                return plane, round(slices.toPicture(world)[0])
        return self._panel.inputs.shown()

    def _clear(self) -> None:
        self._used.clear()
        markups.clearPoints(self._panel.parameters.inputVolume)
