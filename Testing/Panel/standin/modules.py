"""The base classes of scripted modules."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer
from PySide6 import QtWidgets

from .pythonqt import unwrap, wrap


class ScriptedLoadableModule:
    """What Slicer knows of a module."""

    def __init__(self, parent) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    """The base of a panel."""

    def __init__(self, parent=None) -> None:
        self.parent = parent
        self.layout = wrap(unwrap(parent).layout())
        self.logic = None

    def setup(self) -> None:
        """The buttons for developers of the real one are left out."""

    def resourcePath(self, name: str) -> str:
        """A file in the Resources folder beside the module."""
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    """The base of a logic."""

    def __init__(self, parent=None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        """The node that holds the module's parameters, one a scene."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            node.SetName(self.moduleName)
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of a self-test."""

    def runTest(self) -> None:
        """For subclasses."""

    def delayDisplay(self, text: str, milliseconds: int = 1000) -> None:
        """Show a text for a while; here, let events run."""
        print(text)
        QtWidgets.QApplication.processEvents()


def install() -> None:
    """Put the classes where modules look for them."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, cls.__name__, cls)
    sys.modules[module.__name__] = slicer.ScriptedLoadableModule = module
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    sys.modules[i18n.__name__] = slicer.i18n = i18n
