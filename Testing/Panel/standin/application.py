"""`slicer.app`, `slicer.util` and the module logics, around a real MRML scene."""

from __future__ import annotations

import types

import SimpleITK as sitk
import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from .pythonqt import wrap
from .widgets import load_ui

messages: list[tuple[str, str]] = []
"""(kind, text) of every dialog that would have been shown."""

answers = {"confirm": True}
"""What questions are answered with."""

VIEWS = ("Red", "Green", "Yellow")
_LOGICS = ("Color", "Volumes", "Markups", "SubjectHierarchyModule", "TerminologiesModule", "SegmentationsModule")


class _Application(QtCore.QObject):
    """The part of qSlicerApplication that the module uses."""

    startupCompleted = QtCore.Signal()

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def layoutManager(self):
        return _LayoutManager()

    def applicationLogic(self):
        return slicer._application


class _LayoutManager:
    def sliceViewNames(self) -> tuple[str, ...]:
        return VIEWS


class _Module:
    def __init__(self, logic) -> None:
        self._logic = logic

    def logic(self):
        return self._logic


def install() -> None:
    """Complete `slicer`."""
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    application = slicer._application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    slicer.modules = types.SimpleNamespace()
    for name in _LOGICS:
        logic = getattr(slicer, f"vtkSlicer{name}Logic")()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        setattr(slicer.modules, name.removesuffix("Module").lower(), _Module(logic))
    application.SetModuleLogic("Colors", slicer.modules.color.logic())
    slicer.app = wrap(_Application())
    add_views()
    scene.AddObserver(scene.EndCloseEvent, lambda caller, event: add_views())
    util = slicer.util
    util.loadUI = lambda path: wrap(load_ui(path))
    util.childWidgetVariables = _Children
    util.errorDisplay = lambda text, *rest, **named: messages.append(("error", text))
    util.warningDisplay = lambda text, *rest, **named: messages.append(("warning", text))
    util.infoDisplay = lambda text, *rest, **named: messages.append(("info", text))
    util.confirmOkCancelDisplay = lambda text, *rest, **named: (messages.append(("confirm", text)), answers["confirm"])[
        1
    ]
    util.mainWindow = lambda: None
    util.loadVolume = _load_volume


def _load_volume(path: str, properties: dict | None = None):
    """A volume from a file, as Slicer's reader loads it; slicer-core cannot read PNG, which SimpleITK reads here."""
    properties = dict(properties or {})
    name, single = properties.pop("name", None), properties.pop("singleFile", False)
    if properties:
        raise ValueError(f"the stand-in does not know the properties {sorted(properties)}")
    if path.endswith(".png"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, sitk.GetArrayFromImage(sitk.ReadImage(path))[None])
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        node.CreateDefaultDisplayNodes()
        return node
    options = 2 if single else 0  # vtkSlicerVolumesLogic::SingleFile
    node = slicer.modules.volumes.logic().AddArchetypeVolume(path, name or "volume", options)
    if node is None:
        raise RuntimeError(f"{path} could not be loaded")
    return node


def add_views() -> None:
    """The slice views, what they show, and the nodes of mouse and selection."""
    scene = slicer.mrmlScene
    for name in VIEWS:
        if scene.GetNodeByID(f"vtkMRMLSliceNode{name}") is None:
            node = slicer.vtkMRMLSliceNode()
            node.SetName(name)
            node.SetLayoutName(name)
            node.SetSingletonTag(name)
            node.SetOrientation({"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}[name])
            scene.AddNode(node)
            composite = slicer.vtkMRMLSliceCompositeNode()
            composite.SetLayoutName(name)
            composite.SetSingletonTag(name)
            scene.AddNode(composite)
    for cls in ("vtkMRMLSelectionNode", "vtkMRMLInteractionNode"):
        if scene.GetNodeByID(f"{cls}Singleton") is None:
            node = getattr(slicer, cls)()
            node.SetSingletonTag("Singleton")
            scene.AddNode(node)


class _Children:
    """The named widgets of a panel as attributes."""

    def __init__(self, panel) -> None:
        from .pythonqt import unwrap

        for child in unwrap(panel).findChildren(QtCore.QObject):
            if child.objectName() and not child.objectName().startswith("qt_"):
                setattr(self, child.objectName(), wrap(child))
