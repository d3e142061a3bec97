"""The base classes of scripted modules, the translation functions, and Reload.

They imitate Slicer's Base/Python/slicer/ScriptedLoadableModule.py (the same in 5.8 to 5.12) and i18n.py. Every
constructor calls that of the next class in the method resolution order, without arguments.
"""

from __future__ import annotations

import importlib
import logging
import sys
import types
import unittest
from pathlib import Path

import qt
import slicer
import slicer.util

from . import language


class ScriptedLoadableModule:
    """The description of a module for Slicer."""

    def __init__(self, parent) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies = "", [], []
        parent.contributors = ["contributors of Slicer"]
        parent.helpText = parent.acknowledgementText = "This module was created from a template."
        for suffix in (".svg", ".png"):
            icon = self.resourcePath(f"Icons/{self.moduleName}{suffix}")
            if Path(icon).is_file():
                parent.icon = qt.QIcon(icon)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the Resources folder next to the module."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def runTest(self, msec: int = 100, **named) -> None:
        """Run the module's test class."""
        test = getattr(importlib.import_module(type(self).__module__), f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**named)


class ScriptedLoadableModuleWidget:
    """The base class of panels. Without a parent, a panel makes one, and is set up and shown at once."""

    def __init__(self, parent=None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        if not parent:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        signal = "moduleAboutToBeUnloaded(QString)"
        slicer.app.moduleManager().connect(signal, self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the Resources folder next to the module."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        if self.developerMode:
            raise NotImplementedError("the stand-in has no section of Reload and Test; call onReload() or onTest()")

    def cleanup(self) -> None:
        """For subclasses."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            signal = "moduleAboutToBeUnloaded(QString)"
            slicer.app.moduleManager().disconnect(signal, self._onModuleAboutToBeUnloaded)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **named) -> None:
        slicer.selfTests[self.moduleName](**named)


class ScriptedLoadableModuleLogic:
    """The base class of logics."""

    def __init__(self, parent=None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getAllParameterNodes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def getParameterNode(self):
        """Return the node with the module's parameters, one per scene, which is created if there is none."""
        if self.isSingletonParameterNode:
            found = [slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")]
        else:
            found = self.getAllParameterNodes()
        if found and found[0] is not None:
            if self.isSingletonParameterNode and found[0].GetAttribute("ModuleName") != self.moduleName:
                found[0].SetAttribute("ModuleName", self.moduleName)
            return found[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def createParameterNode(self):
        """Return a new parameter node, which is not in the scene yet."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base class of self-tests."""

    def __init__(self, *arguments, **named) -> None:
        self.moduleTestNames: list[str] = []
        super().__init__(*arguments, **named)
        super(unittest.TestCase, self).__init__()
        self.enableScreenshots, self.screenshotScaleFactor = False, 1.0
        names = [name for name in dir(self) if "test" in name and callable(getattr(self, name))]
        self.moduleTestNames = self.moduleTestNames or names

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Show a text for a while; for less than 400 ms, only process events once."""
        for wanted in (getattr(self, "messageDelay", None), msec, requestedDelay, 100):
            if wanted is not None:
                slicer.util.delayDisplay(message, wanted)
                return

    def setUp(self) -> None:
        """For subclasses."""

    def tearDown(self) -> None:
        """For subclasses."""

    def runTest(self) -> None:
        """Run every test, each between setUp and tearDown; tearDown is skipped after a failure."""
        self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            logging.info("Running %s", name)
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()


def install() -> None:
    """Install the classes and functions where modules look for them."""
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
    i18n.tr, i18n.translate = language.tr, language.translate
    sys.modules[i18n.__name__] = slicer.i18n = i18n
