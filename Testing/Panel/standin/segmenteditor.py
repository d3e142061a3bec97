"""qMRMLSegmentEditorWidget: its node selectors, list of segments, effects, undo and keys.

It imitates Slicer's Modules/Loadable/Segmentations/Widgets: qMRMLSegmentEditorWidget.cxx and
qMRMLSegmentsTableView.cxx, on the real vtkSlicerSegmentEditorLogic. The table only has the names; masking, 3D and the
mouse in views are not imitated.
"""

from __future__ import annotations

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .editoreffects import EditorEffects
from .editorlook import EditorLook
from .observations import Observations
from .proxy import unwrap
from .qmrmlwidget import qMRMLWidget


def _stored(name: str) -> Property:
    def write(self, value) -> None:
        self._options[name] = value
        self._shown(name)

    return Property(bool, lambda self: self._options[name], write)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The editor. Its parameter node should be set before the scene, so that the selections in the scene are kept."""

    _segmentation_changed, _source_changed = Signal(object), Signal(object)
    currentSegmentIDChanged = Signal(str)
    SIGNALS = {
        **qMRMLWidget.SIGNALS,
        "segmentationNodeChanged(vtkMRMLSegmentationNode*)": "_segmentation_changed",
        "sourceVolumeNodeChanged(vtkMRMLVolumeNode*)": "_source_changed",
    }

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        names = "segmentationNodeSelectorVisible", "sourceVolumeNodeSelectorVisible", "autoShowSourceVolumeNode"
        self._options = dict.fromkeys(names, True) | {"readOnly": False}
        self._node, self._segmentation, self._source = None, None, None
        self._observed, self._views_observed = Observations(self), False
        self._shortcuts: list[QtGui.QShortcut] = []
        self._logic, self._history = slicer.vtkSlicerSegmentEditorLogic(), slicer.vtkSegmentationHistory()
        self._logic.SetSegmentationHistory(self._history)
        self._logic.AddObserver(self._logic.SegmentationHistoryChangedEvent, lambda *_event: self._updateUndo())
        self._look = look = EditorLook(self)
        self._effects = EditorEffects(self, look)
        look.segmentationSelector.connectNode(self._segmentationPicked)
        look.sourceSelector.connectNode(self._sourcePicked)
        look.segments.changed.connect(self._segmentPicked)
        look.add.clicked.connect(lambda: self._logic.AddEmptySegment())
        look.remove.clicked.connect(self._removeSegment)
        look.undo.clicked.connect(self.undo)
        look.redo.clicked.connect(self.redo)
        self.updateEffectList()

    readOnly, autoShowSourceVolumeNode = _stored("readOnly"), _stored("autoShowSourceVolumeNode")
    segmentationNodeSelectorVisible = _stored("segmentationNodeSelectorVisible")
    sourceVolumeNodeSelectorVisible = _stored("sourceVolumeNodeSelectorVisible")

    @Slot(int)
    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    maximumNumberOfUndoStates = Property(
        int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )

    def logic(self):
        """The real logic, for the effects and the visible parts."""
        return self._logic

    def _shown(self, option: str) -> None:
        if option == "readOnly" and self.readOnly:
            self.setActiveEffect(None)
        self._look.show(self._options)
        self.updateEffectList()
        self.updateWidgetFromMRML()

    # The scene and the nodes

    def mrmlSegmentEditorNode(self):
        return self._node

    def setMRMLSegmentEditorNode(self, node) -> None:
        if node is self._node:
            return
        self._node = node
        self._observed.set("node", node, ("ModifiedEvent", lambda *_event: self.updateWidgetFromMRML()))
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._effects.initialize(node)
            self.updateWidgetFromMRML()

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        selectors = self._look.segmentationSelector, self._look.sourceSelector
        for selector in selectors:
            selector.blockSignals(True)
            selector.setMRMLScene(scene)
            selector.blockSignals(False)
        super().setMRMLScene(scene)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        if slicer.app.layoutManager() is not None:
            layouts = unwrap(slicer.app.layoutManager())
            layouts.layoutChanged.connect(self.onLayoutChanged, QtCore.Qt.ConnectionType.UniqueConnection)
        mouse = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton") if scene is not None else None
        self._observed.set("mouse", mouse, ("ModifiedEvent", lambda node, _event: self._effects.mouse_changed(node)))
        self.updateWidgetFromMRML()
        if scene is not None:
            closed = (scene.EndCloseEvent, lambda *_event: self._sceneClosed())
            self._observed.set("scene", scene, closed, (scene.EndBatchProcessEvent, lambda *_event: self._batchEnded()))

    def _sceneClosed(self) -> None:
        self._effects.initialize(self._node)
        self.updateWidgetFromMRML()

    def _batchEnded(self) -> None:
        """Adopt what the selectors have chosen meanwhile."""
        if self._node is not None:
            if self._logic.GetSegmentationNode() is not self._look.segmentationSelector.currentNode():
                self.setSegmentationNode(self._look.segmentationSelector.currentNode())
            if self.sourceVolumeNode() is not self._look.sourceSelector.currentNode():
                self._logic.SetSourceVolumeNode(self._look.sourceSelector.currentNode())  # without a segmentation, too
        self.updateWidgetFromMRML()

    def segmentationNode(self):
        return self._look.segmentationSelector.currentNode()  # the widget's, which follows the logic's

    def setSegmentationNode(self, node) -> None:
        if node is self._logic.GetSegmentationNode():
            return
        if self._node is None:
            raise RuntimeError("set the node of the editor before a segmentation")
        self._logic.SetSegmentationNode(node)
        self.setActiveEffect(None)

    def sourceVolumeNode(self):
        return self._logic.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node) -> None:
        if node is not None and self._logic.GetSegmentationNode() is None:
            raise RuntimeError("set the segmentation before the source volume")
        self._logic.SetSourceVolumeNode(node)

    def _segmentationPicked(self, node) -> None:
        if self._scene is not None and not self._scene.IsBatchProcessing() and self._node is not None:
            self.setSegmentationNode(node)

    def _sourcePicked(self, node) -> None:
        if (
            self._scene is not None
            and not self._scene.IsBatchProcessing()
            and self._logic.GetSegmentationNode() is not None
        ):
            self.setSourceVolumeNode(node)

    # The segments

    def currentSegmentID(self) -> str:
        return self._logic.GetCurrentSegmentID() or ""

    @Slot(str)
    def setCurrentSegmentID(self, identifier: str) -> None:
        """Choose a segment. The signal is emitted only for a choice of the user, or for a segment that is gone."""
        if self._node is not None:
            self._node.SetSelectedSegmentID(identifier)

    def _segmentPicked(self) -> None:
        chosen = self._look.segments.selected()
        if self._node is None or chosen == (self._node.GetSelectedSegmentID() or ""):
            return
        self._node.SetSelectedSegmentID(chosen or None)
        active = self.activeEffect()
        if not chosen and active is not None and active.perSegment:
            self.setActiveEffect(None)
        self.updateWidgetFromMRML()
        self.currentSegmentIDChanged.emit(chosen)

    def _removeSegment(self) -> None:
        identifier = self._logic.RemoveSelectedSegment()
        if identifier:
            self._look.segments.select(identifier)

    # Undo

    @Slot()
    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    @Slot()
    def undo(self) -> None:
        self._logic.Undo()

    @Slot()
    def redo(self) -> None:
        self._logic.Redo()

    def _updateUndo(self) -> None:
        self._look.undo.setEnabled(not self.readOnly and bool(self._logic.CanUndo()))
        self._look.redo.setEnabled(not self.readOnly and bool(self._logic.CanRedo()))

    # Effects

    def availableEffectNames(self) -> list[str]:
        return self._effects.names()

    def effectByName(self, name: str):
        """Return an effect by its name, or None."""
        return self._effects.by_name(name)

    def activeEffect(self):
        return self._effects.active

    def setActiveEffect(self, effect) -> None:
        if self._node is not None:
            self._node.SetActiveEffectName(effect.name if effect is not None else "")

    @Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        """Activate an effect. One that does not exist is an error here, whereas Slicer then activates none."""
        if name and self.effectByName(name) is None:
            raise ValueError(f"no effect of the Segment Editor: {name}")
        self.setActiveEffect(self.effectByName(name))

    @Slot()
    def updateEffectList(self) -> None:
        """Add copies of newly registered effects, and show their buttons in their order."""
        self._effects.refresh(self._node)

    # Keyboard and views

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        """Install single keys for effects and segments, undo and redo, by default on the main window."""
        self.uninstallKeyboardShortcuts()
        self._shortcuts = self._look.shortcuts(parent or unwrap(slicer.util.mainWindow()))

    @Slot()
    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []

    def toggleEffect(self, index: int) -> None:
        """Handle a key: 0 ends the active effect, -1 activates the last one, others the one at that position."""
        effect = self._effects.last if index < 0 else self._look.effect(index)
        self.setActiveEffect(None if effect is self.activeEffect() else effect)

    def setupViewObservations(self) -> None:
        """Tell effects about changes of the layout; the mouse in views is not imitated."""
        self._views_observed = True

    def removeViewObservations(self) -> None:
        self._views_observed = False

    @Slot(int)
    def onLayoutChanged(self, _layout: int) -> None:
        if self._views_observed:
            self._showSource()
            self._effects.tell_layout_changed()

    # From MRML

    @Slot()
    def updateWidgetFromMRML(self) -> None:
        scene = self._scene
        if scene is None or scene.IsClosing() or scene.IsBatchProcessing() or self._node is None:
            return
        before = self._node.StartModify()
        self._updateSegmentation()
        self._updateSource()
        chosen = self._node.GetSelectedSegmentID() or ""
        segmentation = self._segmentation.GetSegmentation() if self._segmentation is not None else None
        if segmentation is None or segmentation.GetSegmentIndex(chosen) < 0:
            chosen = ""
        self._look.segments.select(chosen)
        self._look.enable(self._segmentation is not None, chosen, self.readOnly)
        self._effects.follow(self._node, self._scene)
        self._updateUndo()
        self._node.EndModify(before)

    def _updateSegmentation(self) -> None:
        node = self._logic.GetSegmentationNode()
        if node is not self._look.segmentationSelector.currentNode():
            blocked = self._look.segmentationSelector.blockSignals(True)
            self._look.segmentationSelector.setCurrentNode(node)
            self._look.segmentationSelector.blockSignals(blocked)
        if node is self._segmentation:
            return
        self._segmentation = node
        kinds = slicer.vtkSegmentation
        follow, update = lambda *_event: self._look.segments.follow(), lambda *_event: self.updateWidgetFromMRML()
        rows = [(event, follow) for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified)]
        self._observed.set("segmentation", node, *rows, ("ModifiedEvent", update))
        self._look.segments.set_node(node)
        if node is not None:
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            self._look.sourceSelector.setCurrentNode(node.GetNodeReference(role))
            node.CreateDefaultDisplayNodes()
            if node.GetSegmentation().GetNumberOfSegments():
                self._look.segments.select(node.GetSegmentation().GetNthSegmentID(0))
            self._look.hide_labels()
        self._segmentation_changed.emit(node)

    def _updateSource(self) -> None:
        node = self.sourceVolumeNode()
        if self._logic.GetSegmentationNode() is None or node is self._source:
            return
        self._source = node
        blocked = self._look.sourceSelector.blockSignals(True)
        self._look.sourceSelector.setCurrentNode(node)
        self._look.sourceSelector.blockSignals(blocked)
        self._showSource()
        self._source_changed.emit(node)
        self._effects.tell_source_changed()

    def _showSource(self) -> None:
        if self._source is not None and self.autoShowSourceVolumeNode and slicer.app.layoutManager() is not None:
            self._look.show_source(self._source)
