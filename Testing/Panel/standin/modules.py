"""The base classes of scripted modules, and the functions of translation."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from .proxy import unwrap, wrap


class ScriptedLoadableModule:
    """What Slicer knows of a module."""

    def __init__(self, parent) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    """The base of a panel."""

    def __init__(self, parent=None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        if parent is None:
            holder = QtWidgets.QWidget()
            holder.setLayout(QtWidgets.QVBoxLayout())
            parent = wrap(holder)
        self.parent = parent
        self.layout = wrap(unwrap(parent).layout())
        self.logic = None

    def resourcePath(self, filename: str) -> str:
        """A file in the Resources folder beside the module."""
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / filename)

    def setup(self) -> None:
        """The real one adds buttons for developers when their mode is on."""

    def cleanup(self) -> None:
        """For subclasses."""

    def onReload(self) -> None:
        """Build the panel anew; the source is not read again."""
        self.cleanup()
        while (item := unwrap(self.layout).takeAt(0)) is not None:
            if item.widget() is not None:
                item.widget().deleteLater()
        self.setup()


class ScriptedLoadableModuleLogic:
    """The base of a logic."""

    def __init__(self, parent=None) -> None:
        if not type(self).__name__.endswith("Logic"):
            raise ValueError(f"the name of {type(self).__name__} does not end with Logic")
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        """The node that holds the module's parameters, one a scene; it is made when there is none."""
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            if node.GetAttribute("ModuleName") == self.moduleName:
                return node
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def createParameterNode(self):
        """A new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        node.SetHideFromEditors(True)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of a self-test."""

    messageDelay = 1000

    def runTest(self) -> None:
        """For subclasses."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None) -> None:
        """Show a text for a while; here events run once."""
        print(message)
        QtWidgets.QApplication.processEvents()


def install() -> None:
    """Put them where modules look for them."""
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in classes:
        setattr(module, cls.__name__, cls)
    module.__all__ = [cls.__name__ for cls in classes]
    sys.modules[module.__name__] = slicer.ScriptedLoadableModule = module
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    sys.modules[i18n.__name__] = slicer.i18n = i18n
