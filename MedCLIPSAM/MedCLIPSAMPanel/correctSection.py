"""Correct: points in the slice views, the embedded Segment Editor, SAM on what was painted, locks, and undo."""

from __future__ import annotations

import slicer
import slicer.util
import vtk
from MedCLIPSAMScene import protect
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.strings import _, counted

from MedCLIPSAMLib.errors import InputError

from .enabling import enable
from .lockButtons import LockButtons
from .observed import Observed
from .pointButtons import PointButtons
from .shortcuts import Shortcuts

EDITOR_NODE = "MedCLIPSAM.SegmentEditor"
MAX_UNDO_STATES = 10
OF_VIEWS = "vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"
"""Classes of the nodes that define which slice of which volume a view shows."""


class CorrectSection:
    """The fourth section of the panel. It always acts on the segment and the slice that the user sees."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        modified, kinds = vtk.vtkCommand.ModifiedEvent, slicer.vtkSegmentation
        self._segmentation = Observed(
            (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified), self._segmentsChanged
        )
        self._editorNode = Observed((modified,), self._editorChanged)
        self._views = Observed((modified,), self.showLocks)
        self._scene = Observed((slicer.vtkMRMLScene.NodeAddedEvent,), self._nodeAdded)
        self._following = False
        self._shown = False
        self._shownSegment: str | None = None
        self.points, self._locks = PointButtons(panel, self), LockButtons(panel, self)
        self._shortcuts = Shortcuts(ui, panel.parent, self.points.stop)
        editor = ui.segmentEditor
        editor.setMaximumNumberOfUndoStates(MAX_UNDO_STATES)
        editor.segmentationNodeSelectorVisible = editor.sourceVolumeNodeSelectorVisible = False  # the panel has them
        editor.autoShowSourceVolumeNode = False  # the user chooses what the views show
        editor.connect("segmentationNodeChanged(vtkMRMLSegmentationNode*)", self._editorSegmentationChanged)
        ui.refineButton.connect("clicked(bool)", self._refineShown)
        ui.propagateButton.connect("clicked(bool)", self._propagate)
        ui.undoButton.connect("clicked(bool)", self.undo)
        self._factory = slicer.qSlicerSegmentEditorEffectFactory.instance()
        self._factory.connect("effectRegistered(QString)", self._effectRegistered)

    def sceneOpened(self) -> None:
        """Set the editor's node in a new scene, and follow the shown slices."""
        editor = self._panel.ui.segmentEditor
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_NODE, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_NODE)
            node = slicer.mrmlScene.AddNode(node)
        if editor.mrmlSegmentEditorNode() is not node:
            node.SetActiveEffectName("")  # an effect saved with a scene would start before the panel is ready
            editor.setMRMLSegmentEditorNode(node)  # before the scene
        editor.setMRMLScene(slicer.mrmlScene)
        editor.updateWidgetFromMRML()
        self._editorNode.follow([node])
        self._followViews()
        self._scene.follow([slicer.mrmlScene])

    def enter(self) -> None:
        """Listen to the keyboard and the views while the module is shown."""
        self._panel.ui.segmentEditor.setupViewObservations()
        self._shortcuts.install()
        self._shown = True

    def exit(self) -> None:
        """Release keyboard, mouse and views."""
        self._shown = False
        editor = self._panel.ui.segmentEditor
        if editor.mrmlSegmentEditorNode() is not None:
            editor.setActiveEffectByName("")
        self._shortcuts.uninstall()
        editor.removeViewObservations()
        self.points.stop()

    def update(self) -> None:
        """Show the chosen segmentation in the editor and enable the possible actions."""
        ui, parameters = self._panel.ui, self._panel.parameters
        editor, node, volume = ui.segmentEditor, parameters.segmentation, parameters.inputVolume
        self._following = True
        if editor.segmentationNode() is not node:
            editor.setSegmentationNode(node)
        if volume is not None and node is not None and editor.sourceVolumeNode() is not volume:
            editor.setSourceVolumeNode(volume)
        self._following = False
        self._segmentation.follow([node] if node is not None else [])
        absent, unchosen = self._whyAbsent(), self._whyUnchosen()
        busy = self._panel.whyBusy()
        self.points.update(_("Choose an input volume first.") if volume is None else "")
        self._locks.update(unchosen)
        enable(ui.refineButton, unchosen or busy)
        enable(ui.propagateButton, unchosen or busy)
        enable(ui.reachBox, unchosen)
        ui.reachBox.suffix = counted(parameters.reach, _(" slice"), _(" slices"))
        enable(ui.undoButton, absent or busy)
        ui.correctLabel.text = self._whatToDo()

    def close(self) -> None:
        """Release the editor before the panel is removed, because Slicer only hides a panel that is reloaded."""
        self.exit()
        self.forget()
        for observed in (self._editorNode, self._views, self._scene):
            observed.follow([])
        self._factory.disconnect("effectRegistered(QString)", self._effectRegistered)
        editor = self._panel.ui.segmentEditor
        editor.setSegmentationNode(None)
        editor.setMRMLSegmentEditorNode(None)
        editor.setMRMLScene(None)

    def _whyAbsent(self) -> str:
        """Return why there is nothing to correct; empty if there is a segmentation."""
        if self._panel.parameters.inputVolume is None:
            return _("Choose an input volume first.")
        if self._panel.parameters.segmentation is None:
            return _("Segment with a prompt, or choose a segmentation above, to correct it.")
        return ""

    def _whatToDo(self) -> str:
        """Return the line above the buttons."""
        if self._panel.parameters.inputVolume is None:
            return _("Choose an input volume first.")
        segment = self.segment()
        if segment is None:
            return _("Segment with a prompt, or mark something with 'Point inside': that makes a segment.")
        name = self._panel.parameters.segmentation.GetSegmentation().GetSegment(segment).GetName()
        return _("'{name}', chosen below, is corrected on the slice where you click.").format(name=name)

    def _whyUnchosen(self) -> str:
        """Return why no segment can be corrected; empty if one is chosen."""
        absent = self._whyAbsent()
        if not absent and self.segment() is None:
            empty = self._panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 0
            return _("The segmentation has no segment yet.") if empty else _("Choose a segment in the list below.")
        return absent

    def segment(self) -> str | None:
        """Return the id of the segment chosen in the editor, or None."""
        node = self._panel.parameters.segmentation
        if node is None:
            return None
        identifier = str(self._panel.ui.segmentEditor.currentSegmentID() or "")
        return identifier if identifier and node.GetSegmentation().GetSegment(identifier) else None

    def requireSegment(self) -> str:
        """Return the id of the segment chosen in the editor.

        Raises:
            InputError: there is none.
        """
        segment = self.segment()
        if segment is None:
            raise InputError(_("No segment is chosen."), _("Segment with a prompt, or choose a segment below."))
        return segment

    def choose(self, segmentId: str) -> None:
        """Choose the segment to correct."""
        self.update()
        self._panel.ui.segmentEditor.setCurrentSegmentID(segmentId)
        self._panel.update()

    def undo(self) -> None:
        """Undo the last result, correction, lock or brush stroke; the point that made it is removed, too."""
        if self._panel.session.undo(self._panel.parameters.segmentation):
            self._panel.results.clear()
        else:
            self._panel.say(_("There is nothing to undo."))

    def forget(self) -> None:
        """Release the nodes of a scene before it is closed."""
        self.points.forget()
        self._segmentation.follow([])
        self._shownSegment = None
        if self._panel.ui.segmentEditor.mrmlSegmentEditorNode() is not None:
            self._following = True
            self._panel.ui.segmentEditor.setSegmentationNode(None)
            self._following = False

    def _segmentsChanged(self, _caller=None, _event=None) -> None:
        self.points.dropUndone()
        self._panel.update()

    def _editorChanged(self, _caller=None, _event=None) -> None:
        """Follow the segment chosen in the editor.

        The node is observed because no signal of the widget covers both the mouse and the keyboard.
        """
        parameters = self._panel.parameters
        if self._following or parameters is None:
            return
        if self._panel.ui.segmentEditor.segmentationNode() is not parameters.segmentation:
            return  # another segmentation was chosen, whose own signal follows
        segment = self.segment()
        if segment != self._shownSegment:
            self._shownSegment = segment
            self._panel.update()

    def _effectRegistered(self, *_arguments) -> None:
        """Show an effect that is registered after the editor was created, as for the startup module."""
        self._panel.ui.segmentEditor.updateEffectList()

    def _editorSegmentationChanged(self, node) -> None:
        """Follow another segmentation that was chosen in the editor."""
        parameters = self._panel.parameters
        if not self._following and parameters is not None and parameters.segmentation is not node:
            parameters.segmentation = node

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeAdded(self, _caller, _event, node) -> None:
        """Follow the views that another layout has made."""
        if any(map(node.IsA, OF_VIEWS)):
            self._followViews()

    def _followViews(self) -> None:
        self._views.follow([node for name in OF_VIEWS for node in slicer.util.getNodesByClass(name)])

    def showLocks(self, _caller=None, _event=None) -> None:
        """Show the locks of the slice that the chosen view shows now."""
        if self._shown and self._panel.parameters is not None and not slicer.mrmlScene.IsBatchProcessing():
            self._locks.update(self._whyUnchosen())

    def _refineShown(self) -> None:
        self._panel.attempt(lambda: self.points.refine(*self._panel.inputs.shown()))

    def _propagate(self) -> None:
        panel, parameters = self._panel, self._panel.parameters

        def start(finished, progressed):
            segment = self.requireSegment()
            # In the plane that the models wrote last: along another plane, all slices would count as corrected.
            plane = protect.planeOf(parameters.segmentation, segment) or panel.inputs.shown()[0]
            slices = SceneSlices(parameters.inputVolume, plane)
            return panel.operations.propagate.startCorrection(
                parameters.segmentation, segment, slices, parameters.reach or None, finished, progressed
            )

        panel.run(start, panel.results.showText)
