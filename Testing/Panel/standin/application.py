"""The simple parts of `slicer.app` and `slicer.modules`; any other name is an error.

They imitate Slicer's Base/QTCore/qSlicerCoreApplication.h, Base/QTGUI/qSlicerApplication.h and qSlicerLayoutManager.h.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from types import SimpleNamespace
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import language, scene
from .ctkwidgets import ctkSettings
from .proxy import wrap


class SliceWidget(QtCore.QObject):
    """A slice view with its real node and logic, but without an image."""

    def __init__(self, name: str, application_logic: Any) -> None:
        super().__init__()
        self._name, self._application, self._logic = name, application_logic, None

    def mrmlSliceNode(self):
        return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{self._name}")

    def mrmlSliceCompositeNode(self):
        return self.sliceLogic().GetSliceCompositeNode()

    def sliceLogic(self):
        if self._logic is None:
            self._logic = slicer.vtkMRMLSliceLogic()
            self._logic.SetMRMLApplicationLogic(self._application)
            self._logic.SetMRMLScene(slicer.mrmlScene)
        if self._logic.GetSliceNode() is not self.mrmlSliceNode():
            self._logic.SetSliceNode(self.mrmlSliceNode())
            self._logic.SetSliceCompositeNode(slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{self._name}"))
        return self._logic


class LayoutManager(QtCore.QObject):
    """The slice views; there is no 3D view. Those of a layout are made when it is first chosen, and are kept."""

    layoutChanged = Signal(int)

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self._layout, self._application = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView, application_logic
        self._widgets = {name: SliceWidget(name, application_logic) for name in scene.VIEWS}

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget:
        return self._widgets[name]

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        logics = vtk.vtkCollection()
        for widget in self._widgets.values():
            logics.AddItem(widget.sliceLogic())
        return logics

    def setLayout(self, layout: int) -> None:
        if layout == self._layout:
            return
        self._layout = layout
        names = tuple(scene.VIEWS)
        if layout == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView:
            names += tuple(f"{name}+" for name in scene.VIEWS)
        scene.show_layout(names)
        for name in names:
            self._widgets.setdefault(name, SliceWidget(name, self._application))
        self.layoutChanged.emit(layout)

    def forget(self) -> None:
        """Return to the first layout and drop the views of others. Only tests need this; Slicer cannot do it."""
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        for name in set(self._widgets) - set(scene.VIEWS):
            del self._widgets[name]
            for cls in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode"):
                slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(f"{cls}{name}"))

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToAll()

    layout = Property(int, lambda self: self._layout, setLayout)
    threeDViewCount = Property(int, lambda self: 0, constant=True)


class ModuleManager(QtCore.QObject):
    """The modules by name."""

    moduleLoaded, moduleAboutToBeUnloaded = Signal(str), Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def add(self, module: Any) -> None:
        """Register a module here and in `slicer.modules`, as Slicer does."""
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), wrap(module))
        self.moduleLoaded.emit(module.name)


class CommandOptions(QtCore.QObject):
    """How Slicer was started."""

    noMainWindow = Property(bool, lambda self: slicer.app.layoutManager() is None)


class qSlicerApplication(QtCore.QObject):
    """The application without its window. Its version is that of the Python layer; see `slicersource`."""

    startupCompleted = Signal()

    def __init__(self, logic: Any, version: tuple[int, int, int]) -> None:
        super().__init__()
        self._logic, self._version = logic, version
        self._layouts: LayoutManager | None = LayoutManager(logic)
        self._manager, self._options = ModuleManager(), CommandOptions(self)
        self._startup = QtCore.QProcessEnvironment.systemEnvironment()
        self._temporary = tempfile.mkdtemp(prefix="standin-slicer-")
        atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)

    applicationName = Property(str, lambda self: "Slicer", constant=True)
    applicationVersion = Property(str, lambda self: ".".join(map(str, self._version)), constant=True)
    majorVersion = Property(int, lambda self: self._version[0], constant=True)
    minorVersion = Property(int, lambda self: self._version[1], constant=True)
    slicerHome = Property(str, lambda self: self._temporary, constant=True)
    temporaryPath = Property(str, lambda self: self._temporary, constant=True)

    def applicationLogic(self):
        return self._logic

    def layoutManager(self) -> LayoutManager | None:
        """The layout manager, which the main window makes; None without one. See `mainwindow`."""
        return self._layouts

    def setLayoutManager(self, manager: LayoutManager | None) -> None:
        self._layouts = manager

    def commandOptions(self) -> CommandOptions:
        return self._options

    def moduleManager(self) -> ModuleManager:
        return self._manager

    def mrmlScene(self):
        return slicer.mrmlScene

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return QtWidgets.QApplication.topLevelWidgets()

    def settings(self) -> ctkSettings:
        return ctkSettings()

    def userSettings(self) -> ctkSettings:
        return ctkSettings()

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """The environment before Slicer's launcher changed it, here as it was when the stand-in was installed."""
        return QtCore.QProcessEnvironment(self._startup)

    def testingEnabled(self) -> bool:
        return False

    def translate(self, context: str, text: str) -> str:
        return language.translate(context, text)


class LoadableModule(QtCore.QObject):
    """A C++ module: its name and its real logic."""

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self._name, self._logic = name, logic

    name = Property(str, lambda self: self._name, constant=True)

    def logic(self):
        return self._logic


def install(version: tuple[int, int, int]) -> qSlicerApplication:
    """Set `slicer.app`, `slicer.mrmlScene` and `slicer.modules`."""
    logic, logics = scene.make()
    application = qSlicerApplication(logic, version)
    slicer.app, slicer.modules = wrap(application), SimpleNamespace()
    for name, moduleLogic in logics.items():
        application.moduleManager().add(LoadableModule(name, moduleLogic))
    return application
