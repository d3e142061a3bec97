"""`slicer.app` and `slicer.modules`: the simple part of them; a name that is not here is an error."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from types import SimpleNamespace
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from . import scene
from .proxy import wrap


class SliceWidget(QtCore.QObject):
    """A slice view without its picture: the real node and logic."""

    def __init__(self, name: str, application_logic: Any) -> None:
        super().__init__()
        self._name, self._application, self._logic = name, application_logic, None

    def mrmlSliceNode(self):
        return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{self._name}")

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
    """The three slice views; there is no 3D view."""

    layoutChanged = Signal(int)

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self._layout = 3  # SlicerLayoutFourUpView
        self._widgets = {name: SliceWidget(name, application_logic) for name in scene.VIEWS}

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(scene.VIEWS)

    def sliceWidget(self, name: str) -> SliceWidget:
        return self._widgets[name]

    def setLayout(self, layout: int) -> None:
        if layout != self._layout:
            self._layout = layout
            self.layoutChanged.emit(layout)

    def resetSliceViews(self) -> None:
        for name in scene.VIEWS:
            self._widgets[name].sliceLogic().FitSliceToAll()

    layout = Property(int, lambda self: self._layout, setLayout)
    threeDViewCount = Property(int, lambda self: 0, constant=True)


class Application(QtCore.QObject):
    """The part of qSlicerApplication that needs no window."""

    startupCompleted = Signal()

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic, self._layouts = logic, LayoutManager(logic)
        self._temporary = tempfile.mkdtemp(prefix="standin-slicer-")
        atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)

    applicationName = Property(str, lambda self: "Slicer", constant=True)
    applicationVersion = Property(str, lambda self: "5.10.0", constant=True)
    majorVersion = Property(int, lambda self: 5, constant=True)
    minorVersion = Property(int, lambda self: 10, constant=True)
    slicerHome = Property(str, lambda self: self._temporary, constant=True)
    temporaryPath = Property(str, lambda self: self._temporary, constant=True)

    def applicationLogic(self):
        return self._logic

    def layoutManager(self) -> LayoutManager:
        return self._layouts

    def mrmlScene(self):
        return slicer.mrmlScene

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def userSettings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    def testingEnabled(self) -> bool:
        return False

    def setOverrideCursor(self, cursor: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(cursor)

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        """Nothing is rendered."""

    def resumeRender(self) -> None:
        """Nothing is rendered."""


class Module:
    """A module of `slicer.modules`."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def logic(self):
        return self._logic


def install() -> None:
    """Set `slicer.app`, `slicer.mrmlScene` and `slicer.modules`."""
    logic, logics = scene.make()
    slicer.app = wrap(Application(logic))
    slicer.modules = SimpleNamespace(**{name: Module(name, each) for name, each in logics.items()})
