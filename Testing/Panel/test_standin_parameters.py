"""Parameters, packs and connectors behave as in Slicer's parameterNodeWrapper, whether imitated or Slicer's own."""

from __future__ import annotations

import enum
from typing import Annotated

import pytest
import slicer
import slicer.util
import standin
from parts import volume
from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, isParameterPack, parameterNodeWrapper, parameterPack


class Method(enum.Enum):
    OTSU = "o"
    KMEANS = "k"


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    prompt: str = "brain tumor"
    level: Annotated[float, WithinRange(0, 1)] = 0.5
    method: Method = Method.KMEANS
    count: Annotated[int, WithinRange(1, 99)] = 3
    shown: bool = True
    far: float = 0.0


def parameters() -> Parameters:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parameters_round_trip_through_the_node(scene, tmp_path) -> None:
    made = parameters()
    assert (made.prompt, made.level, made.method, made.count) == ("brain tumor", 0.5, Method.KMEANS, 3)
    assert made.volume is None and made.default("count").value == 3
    made.prompt, made.level, made.method, made.shown = "liver", 1, Method.OTSU, False
    made.volume = volume("head")
    for name, value, kind in (
        ("level", 1.5, ValueError),
        ("level", "1", TypeError),
        ("count", 0, ValueError),
        ("count", 2.0, TypeError),
        ("prompt", None, ValueError),
        ("volume", made.parameterNode, TypeError),
    ):
        with pytest.raises(kind):
            setattr(made, name, value)
    if not standin.SLICERS_PYTHON:  # which takes it for an attribute of no parameter
        with pytest.raises(AttributeError):
            made.promt = "x"
    with pytest.raises(AttributeError):
        made.promt
    with pytest.raises(ValueError):
        made.getValue("promt")
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    scene.Connect()
    nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
    again = Parameters(next(node for node in nodes if "far" in node.GetParameterNamesAsCommaSeparatedList()))
    assert (again.prompt, again.level, again.method, again.shown) == ("liver", 1.0, Method.OTSU, False)
    assert again.volume.GetName() == "head"


def test_widgets_and_parameters_follow_each_other(ui) -> None:
    made = parameters()
    named = {name: getattr(ui, name) for name in ("prompt", "level", "method", "count", "shown", "volume")}
    tag = made.connectParametersToGui(named)
    assert ui.prompt.text == "brain tumor" and ui.level.value == 0.5 and ui.level.maximum == 1
    assert ui.method.currentText == "KMEANS" and ui.count.value == 3 and ui.count.minimum == 1 and ui.shown.checked
    made.prompt, made.level, made.method, made.shown = "liver", 0.25, Method.OTSU, False
    made.volume = volume("head")
    assert (ui.prompt.text, ui.level.value, ui.method.currentText, ui.shown.checked) == ("liver", 0.25, "OTSU", False)
    assert ui.volume.currentNode() is made.volume
    ui.prompt.text, ui.level.value, ui.count.value, ui.shown.checked = "lung", 0.75, 9, True
    ui.method.setCurrentIndex(1)
    ui.volume.setCurrentNode(None)
    assert (made.prompt, made.level, made.count, made.shown) == ("lung", 0.75, 9, True)
    assert made.method is Method.KMEANS and made.volume is None
    made.disconnectGui(tag)
    ui.prompt.text = "spleen"
    assert made.prompt == "lung"
    made.level = 0.1
    assert ui.level.value == 0.75


@parameterPack
class Export:
    method: Method = Method.OTSU
    score: Annotated[float, WithinRange(0, 1)] = 0.25


@parameterNodeWrapper
class Packed:
    export: Export


def test_packs_are_parameters_with_dotted_names(scene, ui) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    made = Packed(node)
    assert (made.export.method, made.getValue("export.score")) == (Method.OTSU, 0.25) and isParameterPack(made.export)
    assert node.GetParameter("export.method") == "OTSU" and node.GetParameter("export.score") == "0.25"
    changes = []
    node.AddObserver("ModifiedEvent", lambda *_event: changes.append(made.export.method))
    made.export.method = Method.KMEANS
    assert changes == [Method.KMEANS] and node.GetParameter("export.method") == "KMEANS"
    made.setValue("export.score", 0.75)
    made.export = Export(Method.OTSU, score=1)
    assert made.export == Export(Method.OTSU, 1.0) and Packed(node).export.score == 1
    for name, value, kind in (
        ("export.score", 2.0, ValueError),
        ("export.score", "2", TypeError),
        ("export.none", 2, ValueError),
    ):
        with pytest.raises(kind):
            made.setValue(name, value)
    tag = made.connectParametersToGui({"export.method": ui.method, "export.score": ui.level})
    assert ui.method.count == 2 and ui.method.currentText == "OTSU" and ui.level.value == 1
    ui.method.setCurrentIndex(1)
    made.export.score = 0.5
    assert made.export.method is Method.KMEANS and ui.level.value == 0.5
    made.disconnectGui(tag)
    with pytest.raises((ValueError, TypeError)):
        parameterPack(type("Empty", (), {}))


def test_what_a_widget_cannot_hold_is_refused(ui) -> None:
    made = parameters()
    for name, widget in (("prompt", ui.count), ("prompt", ui.method), ("far", ui.level), ("shown", ui.section)):
        with pytest.raises(RuntimeError):
            made.connectParametersToGui({name: widget})
    with pytest.raises(ValueError):
        made.connectParametersToGui({"promt": ui.prompt})
