"""Correct: points in the slice views, the embedded Segment Editor, and SAM on what was painted."""

from __future__ import annotations

import qt
import slicer
import slicer.util
from MedCLIPSAMScene import markups, protect, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import MedCLIPSAMError

EDITOR_NODE = "MedCLIPSAM.SegmentEditor"
SHORTCUTS = {
    "segmentButton": "Alt+S",
    "insideButton": "Alt+I",
    "outsideButton": "Alt+O",
    "addBoxButton": "Alt+B",
    "refineButton": "Alt+R",
    "propagateButton": "Alt+P",
}


class EditorHistory:
    """The history of the embedded Segment Editor: brush strokes and results are undone in one sequence."""

    def __init__(self, editor) -> None:
        self._editor = editor

    def save(self, segmentationNode) -> None:
        """See `history.History`."""
        if self._editor.segmentationNode() is not segmentationNode:
            self._editor.setSegmentationNode(segmentationNode)
        self._editor.saveStateForUndo()

    def undo(self, segmentationNode) -> bool:
        """See `history.History`; the editor does not tell whether there was a state, and does nothing when not."""
        if self._editor.segmentationNode() is not segmentationNode:
            return False
        self._editor.undo()
        return True


class CorrectSection:
    """The fourth section of the panel."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        self._tags: list[tuple] = []
        self._again: tuple[str, int] | None = None
        self._used: set[str] = set()
        self._observed: tuple = ()
        self._shortcuts: list = []
        ui.insideButton.connect("toggled(bool)", lambda on: self._place(markups.POSITIVE, on))
        ui.outsideButton.connect("toggled(bool)", lambda on: self._place(markups.NEGATIVE, on))
        ui.clearPointsButton.connect("clicked(bool)", lambda *_arguments: self._clearPoints())
        ui.refineButton.connect("clicked(bool)", lambda *_arguments: self._refineShown())
        ui.propagateButton.connect("clicked(bool)", lambda *_arguments: self._propagate())
        ui.lockSliceButton.connect("clicked(bool)", lambda on: panel.attempt(lambda: self._lockSlice(on)))
        ui.lockSegmentButton.connect("clicked(bool)", lambda on: panel.attempt(lambda: self._lockSegment(on)))
        panel.bindings.property(ui.reachBox, "value", "valueChanged(int)", "reach")
        ui.undoButton.connect("clicked(bool)", lambda *_arguments: self.undo())
        ui.show3DButton.connect("toggled(bool)", self._show3D)
        for name, keys in SHORTCUTS.items():
            button = getattr(ui, name)
            button.text = f"{button.text} ({keys})"
        ui.undoButton.text = f"{ui.undoButton.text} (Ctrl+Z)"
        ui.segmentEditor.setMaximumNumberOfUndoStates(10)

    def sceneOpened(self) -> None:
        """Give the editor its node in a new scene; the node must come before the scene."""
        editor = self._panel.ui.segmentEditor
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_NODE, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_NODE)
            node = slicer.mrmlScene.AddNode(node)
        editor.setMRMLSegmentEditorNode(node)
        editor.setMRMLScene(slicer.mrmlScene)

    def enter(self) -> None:
        """Listen to the keyboard and the views while the module is shown."""
        editor = self._panel.ui.segmentEditor
        editor.setupViewObservations()
        editor.installKeyboardShortcuts()  # among them Ctrl+Z and Ctrl+Y, on the history that results share
        window = slicer.util.mainWindow() or self._panel.parent
        for name, keys in SHORTCUTS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.connect("activated()", getattr(self._panel.ui, name).click)
            self._shortcuts.append(shortcut)

    def exit(self) -> None:
        """Leave keyboard, mouse and views to others."""
        editor = self._panel.ui.segmentEditor
        editor.setActiveEffectByName("")
        editor.uninstallKeyboardShortcuts()
        editor.removeViewObservations()
        self._endPlacing()
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
        self._shortcuts = []

    def update(self) -> None:
        """Show the chosen segmentation in the editor and enable what can be done."""
        ui, parameters = self._panel.ui, self._panel.parameters
        editor, node, volume = ui.segmentEditor, parameters.segmentation, parameters.inputVolume
        if editor.segmentationNode() is not node:
            editor.setSegmentationNode(node)
        if volume is not None and node is not None and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)
        self._observe(node)
        ready = node is not None and volume is not None
        for button in (ui.insideButton, ui.outsideButton, ui.clearPointsButton, ui.refineButton):
            button.enabled = ready and not (self._panel.busy and button is ui.refineButton)
        chosen = ready and self.segment() is not None
        ui.propagateButton.enabled = chosen and not self._panel.busy
        for button in (ui.reachBox, ui.lockSliceButton, ui.lockSegmentButton):
            button.enabled = chosen
        self.showLocks()
        for button in (ui.undoButton, ui.show3DButton):
            button.enabled = node is not None and not self._panel.busy
        ui.correctLabel.text = (
            _("The segment chosen below is corrected on the slice where you click.")
            if ready
            else _("Segment with a prompt, or choose a segmentation above, to correct it here.")
        )

    def showLocks(self) -> None:
        """Show on the buttons whether the chosen segment, or its slice that is shown, is locked."""
        ui, node, segment = self._panel.ui, self._panel.parameters.segmentation, self.segment()
        slices = whole = False
        if segment is not None and self._panel.parameters.inputVolume is not None:
            try:
                plane, number = self._panel.inputs.shown()
            except MedCLIPSAMError:  # the view shows another volume or none
                plane, number = self._panel.parameters.plane, -1
            keep = protect.locked(node, segment, plane)
            whole = keep is protect.EVERYTHING
            slices = number in keep
        ui.lockSliceButton.checked, ui.lockSegmentButton.checked = slices, whole

    def segment(self) -> str | None:
        """The id of the segment chosen in the editor."""
        node = self._panel.parameters.segmentation
        if node is None:
            return None
        identifier = str(self._panel.ui.segmentEditor.currentSegmentID() or "")
        return identifier if identifier and node.GetSegmentation().GetSegment(identifier) else None

    def choose(self, segmentId: str) -> None:
        """Choose the segment to correct."""
        self.update()
        self._panel.ui.segmentEditor.setCurrentSegmentID(segmentId)

    def undo(self) -> None:
        """Take back the last result, correction or brush stroke; its point goes too, see `_segmentChanged`."""
        self._panel.logic.undo(self._panel.parameters.segmentation)

    def forget(self) -> None:
        """Before the scene is closed: let go of its nodes."""
        self._endPlacing()
        self._observe(None)
        self._tags, self._used, self._again = [], set(), None

    def _place(self, kind: str, on: bool) -> None:
        ui = self._panel.ui
        if not on:
            if not (ui.insideButton.checked or ui.outsideButton.checked):
                markups.stopPlacing()
            return
        (ui.outsideButton if kind == markups.POSITIVE else ui.insideButton).checked = False
        ui.segmentEditor.setActiveEffectByName("")
        node = markups.pointList(self._panel.parameters.inputVolume, kind)
        if all(observed is not node for observed, _tag in self._tags):
            event = slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent
            self._tags.append((node, node.AddObserver(event, lambda caller, _event: self._placed(caller))))
        markups.startPlacing(node)

    def _placed(self, node) -> None:
        """A point was placed: outline anew on its slice. Clicks that come while SAM works are taken up after it."""
        position = node.GetNthControlPointPositionWorld(node.GetNumberOfControlPoints() - 1)
        self._panel.attempt(lambda: self._refine(*self._sliceAt(position)))

    def _observe(self, segmentationNode) -> None:
        """Listen to changes of the segments of a node, in place of those of the one before."""
        if self._observed and self._observed[0] is segmentationNode:
            return
        if self._observed:
            self._panel.removeObserver(*self._observed)
        event = slicer.vtkSegmentation.SegmentModified
        self._observed = (segmentationNode, event, self._segmentChanged) if segmentationNode is not None else ()
        if self._observed:
            self._panel.addObserver(*self._observed)

    def _segmentChanged(self, _caller=None, _event=None) -> None:
        """Points go when their correction was taken back, by whichever undo: a segment knows those that made it."""
        volume, segment = self._panel.parameters.inputVolume, self.segment()
        self.showLocks()  # a lock is undone with the state that it was in
        if volume is None or segment is None or not self._used:
            return
        undone = self._used - set(segments.pointsOf(self._panel.parameters.segmentation, segment))
        self._used -= undone
        markups.removePoints(volume, undone)

    def _sliceAt(self, world) -> tuple[str, int]:
        """The slice of the view that the point lies on: views of all three planes may be shown."""
        volume = self._panel.parameters.inputVolume
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            if abs((matrix[:3, 2] * (world - matrix[:3, 3])).sum()) < 0.1:
                try:
                    plane, _number = self._panel.inputs.shown(node.GetLayoutName())
                except MedCLIPSAMError:
                    continue
                slices = SceneSlices(volume, plane)
                return plane, round(slices.toPicture(world)[0])
        return self._panel.inputs.shown()

    def _refineShown(self) -> None:
        self._panel.attempt(lambda: self._refine(*self._panel.inputs.shown()))

    def _refine(self, plane: str, number: int) -> None:
        panel = self._panel
        if panel.busy:
            self._again = plane, number
            return
        self._again = None
        self._segmentChanged()  # points that corrected another segment are not this one's
        slices = SceneSlices(panel.parameters.inputVolume, plane)
        points, labels, marks = markups.points(slices, number)
        segment = self.segment() or panel.logic.addSegment(panel.parameters.segmentation, _("Segment"))

        def start(finished):
            return panel.logic.startRefine(
                panel.parameters.segmentation, segment, slices, number, points, labels, marks, finished=finished
            )

        def show(result) -> None:
            panel.ui.resultLabel.text = result.text()
            self._used.update(marks)
            self.choose(segment)
            if self._again is not None:
                again, self._again = self._again, None
                qt.QTimer.singleShot(0, lambda: panel.attempt(lambda: self._refine(*again)))

        panel.run(start, show)

    def _propagate(self) -> None:
        panel, parameters, segment = self._panel, self._panel.parameters, self.segment()

        def start(finished):
            slices = SceneSlices(parameters.inputVolume, panel.inputs.shown()[0])
            return panel.logic.startPropagateCorrection(
                parameters.segmentation, segment, slices, parameters.reach or None, finished
            )

        panel.run(start, lambda result: setattr(panel.ui.resultLabel, "text", result.text()))

    def _lockSlice(self, on: bool) -> None:
        node, segment = self._panel.parameters.segmentation, self.segment()
        plane, number = self._panel.inputs.shown()
        keep = protect.locked(node, segment, plane)
        if keep is not protect.EVERYTHING:
            protect.setLocked(node, segment, plane, keep | {number} if on else keep - {number})
        self.showLocks()

    def _lockSegment(self, on: bool) -> None:
        node, segment = self._panel.parameters.segmentation, self.segment()
        protect.setLocked(node, segment, "", protect.EVERYTHING if on else set())
        self.showLocks()

    def _clearPoints(self) -> None:
        self._used.clear()
        markups.clearPoints(self._panel.parameters.inputVolume)

    def _endPlacing(self) -> None:
        ui = self._panel.ui
        ui.insideButton.checked = ui.outsideButton.checked = False
        markups.stopPlacing()

    def _show3D(self, on: bool) -> None:
        node = self._panel.parameters.segmentation
        if node is None:
            return
        if on:
            node.CreateClosedSurfaceRepresentation()
        else:
            node.RemoveClosedSurfaceRepresentation()
