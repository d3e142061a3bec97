"""A scripted module and its panel, as Slicer's C++ makes them from the file of the module.

They imitate Slicer's Base/QTGUI/qSlicerScriptedLoadableModule.cxx, qSlicerScriptedLoadableModuleWidget.cxx and
Base/QTCore/qSlicerAbstractCoreModule.cxx. Errors that those only print, such as one in the module's Python, are raised.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Slot

from .proxy import wrap
from .qmrmlwidget import qMRMLWidget


def _kept(name: str, kind: Any) -> Property:
    return Property(kind, lambda self: self._kept[name], lambda self, value: self._kept.update({name: value}))


def _class(path: str, name: str) -> type:
    """Return a class of the module in a file, which is imported if necessary."""
    folder, module = str(Path(path).parent), Path(path).stem
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return getattr(importlib.import_module(module), name)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel: a widget with a vertical layout, and the Python object that fills it."""

    def __init__(self) -> None:
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._self, self._source, self._entered = None, "", False

    def setPythonSource(self, path: str) -> bool:
        name = f"{Path(path).stem}Widget"
        self._self, self._source = _class(path, name)(wrap(self)), path
        setattr(slicer.modules, name, self._self)
        return True

    def self(self) -> Any:
        return self._self

    def setup(self) -> None:
        self._self.setup()

    def reload(self) -> None:
        """Let a second Python object fill the same widget; its enter() is not called, even if that of the first was."""
        self.setPythonSource(self._source)
        self.setup()

    @Slot()
    def enter(self) -> None:
        self._entered = True
        getattr(self._self, "enter", lambda: None)()

    @Slot()
    def exit(self) -> None:
        self._entered = False
        getattr(self._self, "exit", lambda: None)()

    isEntered = Property(bool, lambda self: self._entered)
    moduleName = Property(str, lambda self: Path(self._source).stem)


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The module: its description, and its panel, which is made when it is requested."""

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        lists = ("categories", "dependencies", "contributors", "associatedNodeTypes")
        texts = ("title", "helpText", "acknowledgementText")
        self._kept: dict[str, Any] = {name: [] for name in lists} | {name: "" for name in texts}
        self._kept |= {"icon": QtGui.QIcon(), "hidden": False, "index": -1, "widgetRepresentationCreationEnabled": True}
        self._path, self._panel, self._self = str(path), None, None
        self._scene, self._logic = slicer.mrmlScene, None

    title, helpText, acknowledgementText = (_kept(name, str) for name in ("title", "helpText", "acknowledgementText"))
    categories, dependencies = _kept("categories", "QStringList"), _kept("dependencies", "QStringList")
    contributors = _kept("contributors", "QStringList")
    associatedNodeTypes = _kept("associatedNodeTypes", "QStringList")
    icon, hidden, index = _kept("icon", QtGui.QIcon), _kept("hidden", bool), _kept("index", int)
    widgetRepresentationCreationEnabled = _kept("widgetRepresentationCreationEnabled", bool)
    path = Property(str, lambda self: self._path, constant=True)
    name = Property(str, lambda self: Path(self._path).stem, constant=True)

    def load(self) -> None:
        """Make the Python object of the module."""
        self._self = _class(self._path, self.name)(wrap(self))
        setattr(slicer.modules, f"{self.name}Instance", self._self)

    def logic(self):
        """The C++ logic, which does nothing for a scripted module; the Python logic belongs to the panel."""
        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
            self._logic.SetMRMLScene(self._scene)
        return self._logic

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        for method in (self._logic and self._logic.SetMRMLScene, self._panel and self._panel.setMRMLScene):
            if method is not None:
                method(scene)

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """Return the panel of the module, which is made by the first call."""
        if self._panel is None:
            self._panel = self.createNewWidgetRepresentation()
        return self._panel

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """Return another panel, which is set up before it gets the scene."""
        panel = qSlicerScriptedLoadableModuleWidget()
        panel.setPythonSource(self._path)
        panel.setup()
        panel.setMRMLScene(self._scene)
        return panel


def load_module(path: Path | str) -> Any:
    """Load a scripted module from its file and register it with Slicer, once per process and module."""
    manager = slicer.app.moduleManager()
    name = Path(path).stem
    if manager.module(name) is None:
        module = qSlicerScriptedLoadableModule(path)
        manager.add(module)
        module.load()
    return wrap(getattr(slicer.modules, name.lower()))
