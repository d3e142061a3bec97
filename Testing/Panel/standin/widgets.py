"""Widgets of CTK and qMRML, with the properties, methods and signals that the panel uses."""

from __future__ import annotations

import types
from pathlib import Path
from xml.etree import ElementTree

import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, Signal

from .pythonqt import ClassProxy

HEADER = 24


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that shows and hides what is below it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Maximum)

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        changed, self._collapsed = collapsed != self._collapsed, collapsed
        self.setMaximumHeight(HEADER if collapsed else 16777215)
        self.updateGeometry()
        self.update()
        if changed:
            self.contentsCollapsed.emit(collapsed)

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    collapsed = Property(bool, _get_collapsed, _set_collapsed, notify=contentsCollapsed)
    text = Property(str, _get_text, _set_text)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(200, HEADER) if self._collapsed else super().sizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(100, HEADER) if self._collapsed else super().minimumSizeHint()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < HEADER:
            self._set_collapsed(not self._collapsed)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(0, 0, self.width(), HEADER - 3, self.palette().button().color().darker(112))
        arrow = "▸" if self._collapsed else "▾"
        painter.drawText(8, HEADER - 9, f"{arrow}  {self._text}")


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self.box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.slider)
        layout.addWidget(self.box)
        self.box.valueChanged.connect(self._changed)
        self.slider.valueChanged.connect(lambda value: self.box.setValue(value))

    def _changed(self, value: float) -> None:
        self.slider.setValue(round(value))
        self.valueChanged.emit(value)

    def _set_minimum(self, value: float) -> None:
        self.box.setMinimum(value)
        self.slider.setMinimum(round(value))

    def _set_maximum(self, value: float) -> None:
        self.box.setMaximum(value)
        self.slider.setMaximum(round(value))

    value = Property(float, lambda self: self.box.value(), lambda self, value: self.box.setValue(value))
    minimum = Property(float, lambda self: self.box.minimum(), _set_minimum)
    maximum = Property(float, lambda self: self.box.maximum(), _set_maximum)
    singleStep = Property(float, lambda self: self.box.singleStep(), lambda self, value: self.box.setSingleStep(value))
    decimals = Property(int, lambda self: self.box.decimals(), lambda self, value: self.box.setDecimals(value))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, with a button that the stand-in does not answer."""

    currentPathChanged = Signal(str)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.line = QtWidgets.QLineEdit()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(QtWidgets.QToolButton(text="..."))
        self.line.textChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda self: self.line.text(), lambda self, text: self.line.setText(text))


class qMRMLWidget(QtWidgets.QWidget):
    """A panel; the node selectors in it get the scene when it does."""

    def setMRMLScene(self, scene) -> None:
        for child in self.findChildren(qMRMLNodeComboBox):
            child.setMRMLScene(scene)


def _flag(name: str) -> Property:
    return Property(bool, lambda self: self._flags[name], lambda self, value: self._flags.__setitem__(name, value))


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the nodes of some classes in the scene."""

    changed = Signal(object)
    valid = Signal(bool)
    SIGNALS = {"currentNodeChanged(vtkMRMLNode*)": "changed", "currentNodeChanged(bool)": "valid"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.box = QtWidgets.QComboBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        self._types: list[str] = []
        self._flags = dict.fromkeys(
            ("noneEnabled", "addEnabled", "removeEnabled", "renameEnabled", "showChildNodeTypes"), False
        ) | {"showChildNodeTypes": True}
        self._scene, self._current, self._filling = None, None, False
        self.box.currentIndexChanged.connect(self._picked)

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
            scene.AddObserver(event, lambda caller, event: self._fill())
        self._fill()

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        self._fill(node)

    def currentText(self) -> str:
        return self.box.currentText()

    def _nodes(self) -> list:
        found = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            fits = any(
                node.IsA(name) if self._flags["showChildNodeTypes"] else node.GetClassName() == name
                for name in self._types
            )
            if fits and not node.GetHideFromEditors() and node.GetSelectable():
                found.append(node)
        return found

    def _fill(self, wanted="keep") -> None:
        if self._scene is None:
            return
        nodes, before = self._nodes(), self._current
        wanted = self._current if isinstance(wanted, str) else wanted
        if not any(wanted is node for node in nodes):
            wanted = None if self._flags["noneEnabled"] or not nodes else nodes[0]
        self._filling = True
        self.box.clear()
        if self._flags["noneEnabled"]:
            self.box.addItem("None", None)
        for node in nodes:
            self.box.addItem(node.GetName(), node.GetID())
        self.box.setCurrentIndex(self.box.findData(wanted.GetID()) if wanted else 0 if self.box.count() else -1)
        self._filling = False
        self._current = wanted
        if wanted is not before:
            self.changed.emit(wanted)
            self.valid.emit(wanted is not None)

    def _picked(self, index: int) -> None:
        if not self._filling:
            identifier = self.box.itemData(index)
            self._fill(self._scene.GetNodeByID(identifier) if identifier else None)

    noneEnabled, addEnabled, removeEnabled = _flag("noneEnabled"), _flag("addEnabled"), _flag("removeEnabled")
    renameEnabled, showChildNodeTypes = _flag("renameEnabled"), _flag("showChildNodeTypes")
    nodeTypes = Property("QStringList", lambda self: self._types, lambda self, types: setattr(self, "_types", types))


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):
    """A list of segments and a row of effects, with a history as the real one has."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self.segments = QtWidgets.QListWidget()
        self.segments.setMaximumHeight(90)
        effects = QtWidgets.QHBoxLayout()
        for name in ("Paint", "Draw", "Erase", "Islands", "Smoothing", "Scissors"):
            effects.addWidget(QtWidgets.QToolButton(text=name, checkable=True))
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.segments)
        layout.addLayout(effects)
        self._scene = self._node = self._segmentation = self._source = self._history = None
        self._maximum, self._effect = 5, ""
        self.shortcuts = False

    def setMRMLSegmentEditorNode(self, node) -> None:
        self._node = node

    def setMRMLScene(self, scene) -> None:
        if self._node is None:
            raise RuntimeError("the segment editor node must be set before the scene")
        if scene is not self._scene:
            scene.AddObserver(scene.EndCloseEvent, lambda caller, event: self.setSegmentationNode(None))
        self._scene = scene

    def segmentationNode(self):
        return self._segmentation

    def setSegmentationNode(self, node) -> None:
        self._segmentation, self._history = node, None
        if node is not None:
            self._history = slicer.vtkSegmentationHistory()
            self._history.SetMaximumNumberOfStates(self._maximum)
            self._history.SetSegmentation(node.GetSegmentation())
            for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                node.GetSegmentation().AddObserver(event, lambda caller, event: self._fill())
        self._fill()

    def sourceVolumeNode(self):
        return self._source

    def setSourceVolumeNode(self, node) -> None:
        self._source = node

    def currentSegmentID(self) -> str:
        item = self.segments.currentItem()
        return item.data(QtCore.Qt.ItemDataRole.UserRole) if item else ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        for row in range(self.segments.count()):
            if self.segments.item(row).data(QtCore.Qt.ItemDataRole.UserRole) == identifier:
                self.segments.setCurrentRow(row)

    def saveStateForUndo(self) -> None:
        if self._history is not None:
            self._history.SaveState()

    def undo(self) -> None:
        if self._history is not None and self._history.IsRestorePreviousStateAvailable():
            self._history.RestorePreviousState()
            self._fill()

    def redo(self) -> None:
        if self._history is not None and self._history.IsRestoreNextStateAvailable():
            self._history.RestoreNextState()
            self._fill()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._maximum = count

    def setActiveEffectByName(self, name: str) -> None:
        self._effect = name

    def installKeyboardShortcuts(self) -> None:
        self.shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self.shortcuts = False

    def setupViewObservations(self) -> None:
        pass

    def removeViewObservations(self) -> None:
        pass

    def _fill(self) -> None:
        chosen = self.currentSegmentID()
        self.segments.clear()
        segmentation = self._segmentation.GetSegmentation() if self._segmentation is not None else None
        for index in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            segment = segmentation.GetNthSegment(index)
            colour = QtGui.QPixmap(12, 12)
            colour.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
            item = QtWidgets.QListWidgetItem(QtGui.QIcon(colour), segment.GetName())
            item.setData(QtCore.Qt.ItemDataRole.UserRole, segmentation.GetNthSegmentID(index))
            self.segments.addItem(item)
        self.segments.setCurrentRow(0)
        self.setCurrentSegmentID(chosen)


class CtkModule(types.ModuleType):
    """The module `ctk`."""

    def __init__(self) -> None:
        super().__init__("ctk")

    def __getattr__(self, name: str):
        for cls in (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit):
            if cls.__name__ == name:
                return ClassProxy(cls)
        raise AttributeError(f"the stand-in of ctk has no '{name}'")


CUSTOM = (
    ctkCollapsibleButton,
    ctkSliderWidget,
    ctkPathLineEdit,
    qMRMLWidget,
    qMRMLNodeComboBox,
    qMRMLSegmentEditorWidget,
)


def load_ui(path: Path | str) -> QtWidgets.QWidget:
    """A .ui file as a widget; a property that a widget does not have is an error.

    Its connections must be those that pass the scene on, which `qMRMLWidget` makes.
    """
    tree = ElementTree.parse(path)
    for connection in tree.iter("connection"):
        if connection.findtext("signal") != "mrmlSceneChanged(vtkMRMLScene*)":
            raise ValueError(
                f"{path}: a connection of {connection.findtext('signal')}, which the stand-in does not know"
            )
    for part in tree.getroot().findall("connections"):
        tree.getroot().remove(part)
    loader = QtUiTools.QUiLoader()
    for cls in CUSTOM:
        loader.registerCustomWidget(cls)
    buffer = QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(tree.getroot()))
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    loaded = loader.load(buffer)
    if loaded is None:
        raise ValueError(f"{path}: {loader.errorString()}")
    for child in [loaded, *loaded.findChildren(QtWidgets.QWidget)]:
        unknown = [bytes(name).decode() for name in child.dynamicPropertyNames()]
        unknown = [name for name in unknown if not name.startswith("_")]
        if unknown:
            raise ValueError(f"{path}: {type(child).__name__} '{child.objectName()}' has no property {unknown}")
    return loaded
