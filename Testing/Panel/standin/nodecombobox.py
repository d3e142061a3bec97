"""qMRMLNodeComboBox on the real MRML scene.

It imitates Slicer's Libs/MRML/Widgets: qMRMLNodeComboBox.cxx, qMRMLSceneModel.cxx and qMRMLSortFilterProxyModel.cxx. As
there, a QComboBox has a row for each node, between the rows for None and for the actions. Qt chooses the current row
when one is inserted or removed: after the current node is removed, it is the row before it.
"""

from __future__ import annotations

import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .observations import Observations

ID = QtCore.Qt.ItemDataRole.UserRole
ACTION = ID + 1


def _option(name: str, kind: object = bool) -> Property:
    def write(self, value) -> None:
        self._options[name] = value
        self._refill()

    return Property(kind, lambda self: self._options[name], write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the nodes of some classes in the scene; disabled until it has a scene."""

    _node_changed, _validity_changed = Signal(object), Signal(bool)
    _added, _added_by_user, _added_by_action = Signal(object), Signal(object), Signal(object)
    _removing, _activated = Signal(object), Signal(object)
    currentNodeIDChanged = Signal(str)
    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_validity_changed",
        "nodeAdded(vtkMRMLNode*)": "_added",
        "nodeAddedByUser(vtkMRMLNode*)": "_added_by_user",
        "nodeAddedByUserAction(vtkMRMLNode*)": "_added_by_action",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "_removing",
        "nodeActivated(vtkMRMLNode*)": "_activated",
    }

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._box, self._model = QtWidgets.QComboBox(), QtGui.QStandardItemModel(self)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.setModel(self._model)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._options = {
            "nodeTypes": [],
            "hideChildNodeTypes": [],
            "noneEnabled": False,
            "noneDisplay": "None",
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
        }
        self._scene, self._requested, self._known = None, None, (-1, "")
        self._observed, self._listed = Observations(self), Observations(self)
        self._box.currentIndexChanged.connect(self._moved)
        self._box.currentTextChanged.connect(self._moved)
        self._box.activated.connect(self._picked)
        self.setEnabled(False)

    nodeTypes = _option("nodeTypes", "QStringList")
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList")
    noneEnabled, noneDisplay = _option("noneEnabled"), _option("noneDisplay", str)
    addEnabled, removeEnabled = _option("addEnabled"), _option("removeEnabled")
    renameEnabled = _option("renameEnabled")
    currentNodeID = Property(
        str,
        lambda self: self.currentNode().GetID() if self.currentNode() is not None else "",
        lambda self, identifier: self.setCurrentNodeID(identifier),
        notify=currentNodeIDChanged,
    )

    # The scene

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        self._listed.clear()
        self._observed.clear()
        self._scene = scene
        self._refill()
        if scene is not None:
            events = [(event, self._scene_replaced) for event in (scene.EndImportEvent, scene.EndCloseEvent)]
            events += [(scene.NodeAddedEvent, self._scene_modified, 10.0)]
            self._observed.set("scene", scene, *events, (scene.NodeAboutToBeRemovedEvent, self._node_leaves, -10.0))
            if self._requested is not None:
                self.setCurrentNode(self._requested)
            elif self.currentNode() is None and not self._options["noneEnabled"]:
                self.setCurrentNode(self.nodeFromIndex(0))
            self._requested = None
        self.setEnabled(scene is not None)

    def _scene_modified(self, _caller, _event) -> None:
        if not self._scene.IsClosing() and not self._scene.IsImporting():
            self._follow()

    def _scene_replaced(self, _caller, _event) -> None:
        """Remove all rows of nodes, so that none is chosen, and insert them again."""
        self._listed.clear()
        self._model.removeRows(self._first(), self.nodeCount())
        self.setCurrentNode(None)
        self._follow()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_leaves(self, _caller, _event, node) -> None:
        """Remove the row of a node before the node is removed."""
        if not self._scene.IsClosing():
            self._drop(node.GetID())

    def _node_modified(self, node, _event) -> None:
        """Update the row of a node, which may have another name or no longer match."""
        row = self._row(node)
        if row >= 0 and self._model.item(row).text() != node.GetName():
            self._model.item(row).setText(node.GetName())
        if self._fits(node) != (row >= 0):
            self._follow()

    def _fits(self, node) -> bool:
        kinds, hidden = (map(node.IsA, self._options[name]) for name in ("nodeTypes", "hideChildNodeTypes"))
        return any(kinds) and not any(hidden) and not node.GetHideFromEditors()

    # Rows: None, the nodes, the actions

    def _first(self) -> int:
        return 1 if self._options["noneEnabled"] else 0

    def _identifiers(self) -> list[str]:
        rows = range(self._model.rowCount())
        return [identifier for row in rows if (identifier := self._model.item(row).data(ID))]

    def _row(self, node) -> int:
        identifiers = self._identifiers()
        identifier = node.GetID() if node is not None else None
        return self._first() + identifiers.index(identifier) if identifier in identifiers else -1

    def _nodes(self) -> dict[str, object]:
        """Return the nodes of the scene that can be chosen: id -> node."""
        if self._scene is None:
            return {}
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        for node in nodes:
            kinds = self._options["nodeTypes"]
            if self._listed.node(node.GetID()) is None and any(node.IsA(name) for name in kinds):  # may fit later
                self._listed.set(node.GetID(), node, ("ModifiedEvent", self._node_modified))
        return {node.GetID(): node for node in nodes if self._fits(node)}

    def _drop(self, identifier: str) -> None:
        """Remove the row of a node; if it was the current row, Qt makes the row before it the current one."""
        node = self._listed.node(identifier)
        self._listed.remove(identifier)
        if identifier in self._identifiers():
            self._removing.emit(node)
            self._model.removeRow(self._first() + self._identifiers().index(identifier))
            if self.currentNode() is None:
                self.setCurrentNode(None)

    def _follow(self) -> None:
        """Remove the rows of nodes that are gone, and insert rows for new nodes."""
        for identifier in self._listed.names():
            node = self._listed.node(identifier)
            if self._scene.GetNodeByID(identifier) is not node or not self._fits(node):
                self._drop(identifier)
        for index, (identifier, node) in enumerate(self._nodes().items()):
            if identifier not in self._identifiers():
                self._model.insertRow(self._first() + index, self._item(node.GetName() or identifier, identifier))
                self._added.emit(node)

    @staticmethod
    def _item(text: str, identifier: str = "", action: str = "") -> QtGui.QStandardItem:
        item = QtGui.QStandardItem(text)
        item.setData(identifier, ID)
        item.setData(action, ACTION)
        if action:  # can be clicked, but is never the current row
            item.setFlags(QtCore.Qt.ItemFlag.ItemIsEnabled)
        return item

    def _refill(self) -> None:
        """Rebuild the list; the current node stays if it still matches."""
        before = self.currentNode()
        blocked = self._box.blockSignals(True)
        self._model.clear()
        if self._options["noneEnabled"]:
            self._model.appendRow(self._item(self._options["noneDisplay"]))
        for identifier, node in self._nodes().items():
            self._model.appendRow(self._item(node.GetName() or identifier, identifier))
        shown = [(option, text) for option, text in _ACTIONS if self._options[option]]
        if shown and self._scene is not None:
            self._model.appendRow(self._item("", action="separator"))
            for option, text in shown:
                self._model.appendRow(self._item(text, action=option))
        self._box.blockSignals(blocked)
        self.setCurrentNode(before)
        self._moved()

    # The choice

    def currentNode(self):
        identifier = self._box.currentData(ID)
        return self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None

    def setCurrentNode(self, node) -> None:
        """Choose a node, or none if it is not in the list. Without a scene, it is chosen when the scene is set."""
        if self._scene is None:
            self._requested = node
        row = self._row(node)
        self._box.setCurrentIndex(row if row >= 0 else 0 if self._options["noneEnabled"] else -1)

    @Slot(str)
    def setCurrentNodeID(self, identifier: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None)

    def _moved(self, *_arguments) -> None:
        """Handle a change of the current row, or of the name in it."""
        node, index = self.currentNode(), self._box.currentIndex()
        now = (node.GetID() if node is not None else "", self._box.currentText() if node is not None else "")
        if node is None and index != (0 if self._options["noneEnabled"] else -1):  # an action: the last node instead
            last = self.nodeFromIndex(self.nodeCount() - 1)
            if last is not None:
                self.setCurrentNode(last)
        elif now != self._known:
            self._known = now
            self._node_changed.emit(node)
            self._validity_changed.emit(node is not None)
            self.currentNodeIDChanged.emit(now[0])

    def nodeCount(self) -> int:
        return len(self._identifiers())

    def nodeFromIndex(self, index: int):
        identifiers = self._identifiers()
        return self._scene.GetNodeByID(identifiers[index]) if 0 <= index < len(identifiers) else None

    def addNode(self, nodeType: str = ""):
        """Make a node of the given type, or of the first of `nodeTypes`."""
        nodeType = nodeType or self._options["nodeTypes"][0]
        if nodeType not in self._options["nodeTypes"]:
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(node.GetNodeTagName()))
        node = self._scene.AddNode(node)
        self.setCurrentNode(node)
        self._added_by_user.emit(node)
        return node

    @Slot()
    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    def pick(self, text: str) -> None:
        """Choose a row as a click of the user does."""
        row = self._box.findText(text)
        if self._model.item(row).flags() & QtCore.Qt.ItemFlag.ItemIsSelectable:
            self._box.setCurrentIndex(row)
        self._box.activated.emit(row)

    def _picked(self, index: int) -> None:
        """Handle a row that the user has picked."""
        action = self._model.item(index).data(ACTION)
        if not action:
            self._activated.emit(self.currentNode())
        elif action == "addEnabled":
            node = self.addNode()
            self.setCurrentNode(node)
            self._added_by_action.emit(node)
        elif action == "removeEnabled":
            self.removeCurrentNode()
        else:
            raise NotImplementedError(f"the stand-in cannot {action.removesuffix('Enabled')} nodes")


_ACTIONS = (
    ("renameEnabled", "Rename current"),
    ("addEnabled", "Create new"),
    ("removeEnabled", "Delete current"),
)
