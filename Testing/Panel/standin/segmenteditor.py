"""qMRMLSegmentEditorWidget: the segments, a row of effects, and the undo of the real vtkSlicerSegmentEditorLogic."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Slot

from .nodecombobox import qMRMLWidget

EFFECTS = (
    *("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices", "Margin"),
    *("Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume"),
)


class Effect(QtCore.QObject):
    """An effect; its parameters are kept in the editor's node, as the real one does."""

    def __init__(self, editor: QtCore.QObject, name: str) -> None:
        super().__init__(editor)
        self._editor, self._name = editor, name

    name = Property(str, lambda self: self._name, constant=True)

    def setParameter(self, name: str, value: object) -> None:
        self._editor.mrmlSegmentEditorNode().SetAttribute(f"{self._name}.{name}", str(value))

    def parameter(self, name: str) -> str:
        return self._editor.mrmlSegmentEditorNode().GetAttribute(f"{self._name}.{name}") or ""


def _stored(name: str, kind: object = bool) -> Property:
    def write(self, value) -> None:
        self._options[name] = value
        self.updateWidgetFromMRML()

    return Property(kind, lambda self: self._options[name], write)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The editor. Its parameter node must be set before the scene and before any node is chosen."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._options = {"readOnly": False, "unorderedEffectsVisible": True, "undoEnabled": True}
        self._options |= {"autoShowSourceVolumeNode": True, "switchToSegmentationsButtonVisible": True}
        self._options |= {"segmentationNodeSelectorVisible": True, "sourceVolumeNodeSelectorVisible": True}
        self._options |= {"effectColumnCount": 5}
        self._order: list[str] = []
        self._effects = {name: Effect(self, name) for name in EFFECTS}
        self._node, self._segmentation = None, None
        self._tags: list[tuple[object, int]] = []
        self._scene_tags: list[tuple[object, int]] = []
        self._shortcuts: list[QtGui.QShortcut] = []
        self._logic, self._history = slicer.vtkSlicerSegmentEditorLogic(), slicer.vtkSegmentationHistory()
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetSegmentationHistory(self._history)
        self._logic.SetMaximumNumberOfUndoStates(10)
        self._build()

    def _build(self) -> None:
        self._list = QtWidgets.QListWidget()
        self._list.setMaximumHeight(90)
        self._list.currentItemChanged.connect(self._picked)
        self._grid = QtWidgets.QGridLayout()
        self._buttons = {}
        for name in EFFECTS:
            button = self._buttons[name] = QtWidgets.QToolButton(text=name, checkable=True)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda on, name=name: self.setActiveEffectByName(name if on else ""))
        self._undo, self._redo = QtWidgets.QPushButton("Undo"), QtWidgets.QPushButton("Redo")
        self._undo.clicked.connect(self.undo)
        self._redo.clicked.connect(self.redo)
        row = QtWidgets.QHBoxLayout()
        row.addWidget(self._undo)
        row.addWidget(self._redo)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._list)
        layout.addLayout(self._grid)
        layout.addLayout(row)
        self.updateWidgetFromMRML()

    readOnly, undoEnabled = _stored("readOnly"), _stored("undoEnabled")
    unorderedEffectsVisible = _stored("unorderedEffectsVisible")
    autoShowSourceVolumeNode = _stored("autoShowSourceVolumeNode")
    switchToSegmentationsButtonVisible = _stored("switchToSegmentationsButtonVisible")
    segmentationNodeSelectorVisible = _stored("segmentationNodeSelectorVisible")
    sourceVolumeNodeSelectorVisible = _stored("sourceVolumeNodeSelectorVisible")
    effectColumnCount = _stored("effectColumnCount", int)

    @Slot(int)
    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(count)

    maximumNumberOfUndoStates = Property(
        int, lambda self: self._logic.GetMaximumNumberOfUndoStates(), setMaximumNumberOfUndoStates
    )

    # The scene and the nodes

    def mrmlSegmentEditorNode(self):
        return self._node

    def setMRMLSegmentEditorNode(self, node) -> None:
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        self._observe()

    def setMRMLScene(self, scene) -> None:
        if self._node is None and scene is not None:
            raise RuntimeError("set the segment editor node before the scene")
        if scene is not self._scene:
            for observed, tag in self._scene_tags:
                observed.RemoveObserver(tag)
            self._scene_tags = []
            if scene is not None:
                self._scene_tags = [(scene, scene.AddObserver(scene.EndCloseEvent, lambda *_event: self._observe()))]
            self._logic.SetMRMLScene(scene)
        super().setMRMLScene(scene)
        self._observe()

    def segmentationNode(self):
        return self._node.GetSegmentationNode() if self._node is not None else None

    def segmentationNodeID(self) -> str:
        return self.segmentationNode().GetID() if self.segmentationNode() is not None else ""

    def setSegmentationNode(self, node) -> None:
        self._needed().SetAndObserveSegmentationNode(node)
        self._observe()
        reference = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        if node is not None and self.sourceVolumeNode() is None:
            self.setSourceVolumeNode(node.GetNodeReference(reference))

    def setSegmentationNodeID(self, identifier: str) -> None:
        self.setSegmentationNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def sourceVolumeNode(self):
        return self._node.GetSourceVolumeNode() if self._node is not None else None

    def sourceVolumeNodeID(self) -> str:
        return self.sourceVolumeNode().GetID() if self.sourceVolumeNode() is not None else ""

    def setSourceVolumeNode(self, node) -> None:
        if node is not None and self.segmentationNode() is None:
            raise RuntimeError("set the segmentation before the source volume")
        self._needed().SetAndObserveSourceVolumeNode(node)

    def setSourceVolumeNodeID(self, identifier: str) -> None:
        self.setSourceVolumeNode(self._scene.GetNodeByID(identifier) if identifier else None)

    def currentSegmentID(self) -> str:
        return (self._node.GetSelectedSegmentID() or "") if self._node is not None else ""

    @Slot(str)
    def setCurrentSegmentID(self, identifier: str) -> None:
        self._needed().SetSelectedSegmentID(identifier)
        self.updateWidgetFromMRML()

    def _needed(self):
        if self._node is None:
            raise RuntimeError("the segment editor has no parameter node")
        return self._node

    def _observe(self) -> None:
        """Listen to the nodes that are shown; another segmentation begins another history."""
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags = []
        node = self.segmentationNode()
        if node is not self._segmentation:
            self._segmentation = node
            self._history.RemoveAllStates()
        segmentation = node.GetSegmentation() if node is not None else None
        self._history.SetSegmentation(segmentation)
        if self._node is not None:
            self._tags.append((self._node, self._node.AddObserver("ModifiedEvent", self._modified)))
        kinds = slicer.vtkSegmentation
        for event in (kinds.SegmentAdded, kinds.SegmentRemoved, kinds.SegmentModified):
            if segmentation is not None:
                self._tags.append((segmentation, segmentation.AddObserver(event, self._modified)))
        self.updateWidgetFromMRML()

    def _modified(self, _caller, _event) -> None:
        if self.segmentationNode() is not self._segmentation:
            self._observe()
        else:
            self.updateWidgetFromMRML()

    # Undo

    @Slot()
    def saveStateForUndo(self) -> None:
        if self.segmentationNode() is not None:
            self._logic.SaveStateForUndo()
        self.updateWidgetFromMRML()

    @Slot()
    def undo(self) -> None:
        self._logic.Undo()
        self.updateWidgetFromMRML()

    @Slot()
    def redo(self) -> None:
        self._logic.Redo()
        self.updateWidgetFromMRML()

    # Effects

    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def effectNameOrder(self) -> list[str]:
        return list(self._order)

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._check(*names)
        self._order = list(names)
        self.updateWidgetFromMRML()

    def effectByName(self, name: str):
        self._check(name)
        return self._effects[name]

    def activeEffect(self):
        name = self._node.GetActiveEffectName() if self._node is not None else None
        return self._effects[name] if name else None

    @Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        if name:
            self._check(name)
        self._needed().SetActiveEffectName(name)
        self.updateWidgetFromMRML()

    def _check(self, *names: str) -> None:
        unknown = [name for name in names if name not in EFFECTS]
        if unknown:
            raise ValueError(f"no effects of the Segment Editor: {unknown}")

    # Keyboard and views

    def installKeyboardShortcuts(self, parent=None) -> None:
        """Of the real ones, those of undo and redo."""
        self.uninstallKeyboardShortcuts()
        for keys, slot in (("Ctrl+Z", self.undo), ("Ctrl+Y", self.redo)):
            shortcut = QtGui.QShortcut(QtGui.QKeySequence(keys), parent or self)
            shortcut.activated.connect(slot)
            self._shortcuts.append(shortcut)

    @Slot()
    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.deleteLater()
        self._shortcuts = []

    def setupViewObservations(self) -> None:
        """There are no views to listen to."""

    def removeViewObservations(self) -> None:
        """There are no views to listen to."""

    # The look

    @Slot()
    def updateWidgetFromMRML(self) -> None:
        node, blocked = self.segmentationNode(), self._list.blockSignals(True)
        self._list.clear()
        segmentation = node.GetSegmentation() if node is not None else None
        identifiers = list(segmentation.GetSegmentIDs()) if segmentation is not None else []
        if identifiers and self.currentSegmentID() not in identifiers:
            self._node.SetSelectedSegmentID(identifiers[0])
        for identifier in identifiers:
            segment = segmentation.GetSegment(identifier)
            colour = QtGui.QPixmap(12, 12)
            colour.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            item = QtWidgets.QListWidgetItem(QtGui.QIcon(colour), segment.GetName())
            item.setData(QtCore.Qt.ItemDataRole.UserRole, identifier)
            self._list.addItem(item)
            if identifier == self.currentSegmentID():
                self._list.setCurrentItem(item)
        self._list.blockSignals(blocked)
        self._undo.setEnabled(node is not None and self._logic.CanUndo())
        self._redo.setEnabled(node is not None and self._logic.CanRedo())
        self._show_effects()

    def _show_effects(self) -> None:
        rest = [name for name in EFFECTS if name not in self._order]
        shown = self._order + (rest if self._options["unorderedEffectsVisible"] else [])
        usable = self.segmentationNode() is not None and not self._options["readOnly"]
        active = self._node.GetActiveEffectName() if self._node is not None else None
        for name, button in self._buttons.items():
            self._grid.removeWidget(button)
            button.setVisible(name in shown)
            button.setEnabled(usable)
            button.setChecked(name == active)
        for index, name in enumerate(shown):
            self._grid.addWidget(self._buttons[name], *divmod(index, self._options["effectColumnCount"]))

    def _picked(self, item: QtWidgets.QListWidgetItem | None) -> None:
        if item is not None:
            self.setCurrentSegmentID(item.data(QtCore.Qt.ItemDataRole.UserRole))
