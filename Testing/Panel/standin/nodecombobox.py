"""qMRMLWidget and qMRMLNodeComboBox on the real MRML scene."""

from __future__ import annotations

from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal, Slot

_SCENE_EVENTS = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")


class qMRMLWidget(QtWidgets.QWidget):
    """A panel; widgets in it get the scene by connections in the .ui file."""

    _scene_changed = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "_scene_changed"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._scene_changed.emit(scene)


def _option(name: str, kind: object = bool) -> Property:
    def write(self, value) -> None:
        self._options[name] = value
        self._refill()

    return Property(kind, lambda self: self._options[name], write)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the nodes of some classes in the scene; disabled until it has a scene."""

    _node_changed, _validity_changed = Signal(object), Signal(bool)
    _added, _added_by_user, _activated = Signal(object), Signal(object), Signal(object)
    currentNodeIDChanged = Signal(str)
    SIGNALS = {
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_validity_changed",
        "nodeAdded(vtkMRMLNode*)": "_added",
        "nodeAddedByUser(vtkMRMLNode*)": "_added",
        "nodeAddedByUserAction(vtkMRMLNode*)": "_added_by_user",
        "nodeActivated(vtkMRMLNode*)": "_activated",
    }

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._options = {
            "nodeTypes": [],
            "hideChildNodeTypes": [],
            "showHidden": False,
            "showChildNodeTypes": True,
            "noneEnabled": False,
            "noneDisplay": "None",
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "selectNodeUponCreation": True,
            "baseName": "",
        }
        self._attributes: list[tuple[str, str, str | None]] = []
        self._scene, self._current, self._shown = None, None, []
        self._tags: list[tuple[object, int]] = []
        self._name_tags: list[tuple[object, int]] = []
        self._box.activated.connect(self._picked)
        self.setEnabled(False)

    nodeTypes = _option("nodeTypes", "QStringList")
    hideChildNodeTypes = _option("hideChildNodeTypes", "QStringList")
    showHidden, showChildNodeTypes = _option("showHidden"), _option("showChildNodeTypes")
    noneEnabled, noneDisplay = _option("noneEnabled"), _option("noneDisplay", str)
    addEnabled, removeEnabled = _option("addEnabled"), _option("removeEnabled")
    editEnabled, renameEnabled = _option("editEnabled"), _option("renameEnabled")
    selectNodeUponCreation, baseName = _option("selectNodeUponCreation"), _option("baseName", str)
    currentNodeID = Property(
        str,
        lambda self: self._current.GetID() if self._current is not None else "",
        lambda self, identifier: self.setCurrentNodeID(identifier),
        notify=currentNodeIDChanged,
    )

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._scene = scene
        self._tags = [
            (scene, scene.AddObserver(getattr(scene, name), self._scene_modified))
            for name in _SCENE_EVENTS
            if scene is not None
        ]
        self.setEnabled(scene is not None)
        self._refill()

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        """Choose a node; none when it is not in the list."""
        self._choose(node if any(node is each for each in self._nodes()) else None)

    @Slot(str)
    def setCurrentNodeID(self, identifier: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(identifier) if self._scene is not None and identifier else None)

    def nodeCount(self) -> int:
        return len(self._shown)

    def nodeFromIndex(self, index: int):
        return self._shown[index] if 0 <= index < len(self._shown) else None

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        self._attributes.append((nodeType, name, value))
        self._refill()

    def addNode(self, nodeType: str = ""):
        """Make a node of the type, or of the first of `nodeTypes`."""
        nodeType = nodeType or self._options["nodeTypes"][0]
        if nodeType not in self._options["nodeTypes"]:
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._options["baseName"] or node.GetNodeTagName()))
        for cls, name, value in self._attributes:
            if node.IsA(cls):
                node.SetAttribute(name, value or "")
        node = self._scene.AddNode(node)
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        return node

    @Slot()
    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    def _fits(self, node) -> bool:
        kinds, hidden = self._options["nodeTypes"], self._options["hideChildNodeTypes"]
        children = self._options["showChildNodeTypes"]
        return (
            any(node.IsA(name) if children else node.GetClassName() == name for name in kinds)
            and not any(node.IsA(name) for name in hidden)
            and (self._options["showHidden"] or not node.GetHideFromEditors())
            and all(
                node.GetAttribute(name) is not None and value in (None, node.GetAttribute(name))
                for cls, name, value in self._attributes
                if node.IsA(cls)
            )
        )

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _scene_modified(self, _caller, _event) -> None:
        if not (self._scene.IsClosing() or self._scene.IsImporting() or self._scene.IsBatchProcessing()):
            self._refill()

    def _refill(self) -> None:
        """List the nodes anew; a current node that is gone is followed by the first one where there is no None."""
        before, nodes = self._shown, self._nodes()
        self._shown = nodes
        for observed, tag in self._name_tags:
            observed.RemoveObserver(tag)
        self._name_tags = [(node, node.AddObserver("ModifiedEvent", self._renamed)) for node in nodes]
        wanted = self._current if any(self._current is node for node in nodes) else None
        if wanted is None and not self._options["noneEnabled"] and nodes:
            wanted = nodes[0]
        self._draw(wanted)
        for node in nodes:
            if not any(node is each for each in before):
                self._added.emit(node)
        self._choose(wanted)

    def _renamed(self, node, _event) -> None:
        for index in range(self._box.count()):
            if self._box.itemData(index) == node.GetID() and self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName())

    def _draw(self, current) -> None:
        blocked = self._box.blockSignals(True)
        self._box.clear()
        if self._options["noneEnabled"]:
            self._box.addItem(self._options["noneDisplay"], "")
        for node in self._shown:
            self._box.addItem(node.GetName() or node.GetID(), node.GetID())
        kinds = self._options["nodeTypes"]
        actions = [("addEnabled", "Create new", "add"), ("removeEnabled", "Delete current", "remove")]
        actions = [(text, action) for option, text, action in actions if self._options[option] and kinds]
        if actions:
            self._box.insertSeparator(self._box.count())
        for text, action in actions:
            self._box.addItem(text, ("action", action))
        self._box.setCurrentIndex(self._index(current))
        self._box.blockSignals(blocked)

    def _index(self, node) -> int:
        if node is None:
            return 0 if self._options["noneEnabled"] else -1
        return self._box.findData(node.GetID())

    def _choose(self, node) -> None:
        changed, self._current = node is not self._current, node
        self._box.setCurrentIndex(self._index(node))
        if changed:
            self._node_changed.emit(node)
            self._validity_changed.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _picked(self, index: int) -> None:
        data = self._box.itemData(index)
        self._box.setCurrentIndex(self._index(self._current))
        if isinstance(data, str):
            node = self._scene.GetNodeByID(data) if data else None
            self._choose(node)
            self._activated.emit(node)
        elif data[1] == "add":
            self._added_by_user.emit(self.addNode())
        else:
            self.removeCurrentNode()
