"""Scripted modules in the stand-in: their base classes, and how they are made, left and reloaded, with or without a
window."""

from __future__ import annotations

import pytest
import qt
import slicer
import slicer.util
import standin
from slicer.ScriptedLoadableModule import *  # noqa: F403


class Mixin:
    def __init__(self) -> None:
        super().__init__()
        self.mixed = True


class SmallLogic(ScriptedLoadableModuleLogic, Mixin):  # noqa: F405
    pass


class NeedyMixin:
    def __init__(self, needed) -> None:
        self.needed = needed


class NeedyLogic(ScriptedLoadableModuleLogic, NeedyMixin):  # noqa: F405
    pass


def test_bases_call_the_next_constructor_without_arguments() -> None:
    assert SmallLogic().mixed
    with pytest.raises(TypeError, match="needed"):
        NeedyLogic()


def test_a_logic_has_one_hidden_parameter_node_a_scene(scene) -> None:
    node = SmallLogic().getParameterNode()
    assert node is SmallLogic().getParameterNode() and node.GetHideFromEditors()
    assert node.GetAttribute("ModuleName") == "Small"
    scene.Clear(0)
    assert SmallLogic().getParameterNode().GetScene() is scene


def test_without_a_main_window_there_are_no_views(scene) -> None:
    assert slicer.util.mainWindow() is not None and slicer.app.layoutManager() is not None
    with standin.without_main_window():
        assert slicer.util.mainWindow() is None and slicer.app.layoutManager() is None
        assert scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 0
        slicer.util.errorDisplay("only logged")
        assert standin.messages == []
        with pytest.raises(AttributeError):
            slicer.util.resetSliceViews()
        with pytest.raises(RuntimeError):
            slicer.util.selectedModule()
    assert slicer.util.selectedModule() and scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 3


MODULE = """
import qt, slicer
from slicer.ScriptedLoadableModule import *

made = []


class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "Small one"


class SmallWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.did = ["setup"]
        self.button = qt.QPushButton("Go")
        self.layout.addWidget(self.button)
        assert self.resourcePath("UI/Small.ui").endswith("Resources/UI/Small.ui")

    def enter(self):
        self.did.append("enter")

    def exit(self):
        self.did.append("exit")

    def cleanup(self):
        self.did.append("cleanup")
"""


def test_a_module_is_entered_left_and_reloaded(tmp_path) -> None:
    path = tmp_path / "Small.py"
    path.write_text(MODULE)
    module = standin.load_module(path)
    assert module is slicer.modules.small and module.title == "Small one" and module.path == str(path)
    assert not hasattr(slicer.modules, "SmallWidget")
    slicer.util.selectModule("Small")
    first, panel = slicer.modules.SmallWidget, module.widgetRepresentation()
    assert first.did == ["setup", "enter"] and slicer.util.selectedModule() == "Small" and panel.isEntered
    assert slicer.util.getModuleWidget("Small") is first
    first.onReload()
    second = slicer.modules.SmallWidget
    assert second is not first and type(second) is not type(first) and second.parent is first.parent
    assert first.did == ["setup", "enter", "cleanup"]  # it is not left ...
    assert second.did == ["setup"] and panel.isEntered  # ... and the new one is not entered
    assert first.button.parent() is panel and not first.button.isVisibleTo(panel) and second.button.isVisibleTo(panel)
    slicer.util.selectModule("Welcome")
    assert first.did[-1] == "cleanup" and second.did == ["setup", "exit"]
    with pytest.raises(ValueError):
        slicer.util.selectModule("Smal")  # codespell:ignore


def test_the_environment_before_the_launcher_is_known(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/slicer/lib/Python")
    assert "PYTHONHOME" not in slicer.util.startupEnvironment() and slicer.util.startupEnvironment()["PATH"]
    assert qt.QProcessEnvironment.systemEnvironment().value("PYTHONHOME") == "/slicer/lib/Python"
