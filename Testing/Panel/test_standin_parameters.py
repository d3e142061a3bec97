"""Parameters, packs and their connectors: as Slicer's parameterNodeWrapper, whether imitated or its own."""

from __future__ import annotations

import enum
import pathlib
from typing import Annotated, Optional, Union

import pytest
import qt
import slicer
import slicer.util
import standin
from parts import volume
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    GuiConnector,
    Minimum,
    WithinRange,
    isParameterPack,
    nestedParameterNames,
    parameterNodeGuiConnector,
    parameterNodeWrapper,
    parameterPack,
)


class Method(enum.Enum):
    OTSU = "o"
    KMEANS = "k"


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    prompt: str = "brain tumor"
    level: Annotated[float, WithinRange(0, 1)] = 0.5
    method: Method = Method.KMEANS
    count: Annotated[int, Minimum(1), Default(3)]
    shown: bool = True
    folder: pathlib.Path
    plane: Annotated[str, Choice(["axial", "coronal"])] = "axial"
    names: list[str]
    limit: Optional[float] = None  # noqa: UP045 - Slicer 5.8 has no parameters with a bar


def parameters() -> Parameters:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_parameters_round_trip_through_the_node(scene, tmp_path) -> None:
    made = parameters()
    assert (made.prompt, made.level, made.method, made.count) == ("brain tumor", 0.5, Method.KMEANS, 3)
    assert made.names == [] and made.limit is None and made.volume is None and made.folder == pathlib.Path()
    made.prompt, made.level, made.method, made.shown = "liver", 1, Method.OTSU, False
    made.names, made.limit, made.volume, made.folder = ["a", "b,c"], 2.5, volume("head"), pathlib.Path("/x")
    made.names.append("d")
    for name, value, kind in (
        ("level", 1.5, ValueError),
        ("level", "1", TypeError),
        ("count", 0, ValueError),
        ("count", 2.0, TypeError),
        ("plane", "oblique", ValueError),
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
    again = Parameters(next(node for node in nodes if "limit" in node.GetParameterNamesAsCommaSeparatedList()))
    assert (again.prompt, again.level, again.method, again.shown) == ("liver", 1.0, Method.OTSU, False)
    assert again.names == ["a", "b,c", "d"] and again.limit == 2.5 and again.folder == pathlib.Path("/x")
    assert again.volume.GetName() == "head"


def test_widgets_and_parameters_follow_each_other(ui) -> None:
    made = parameters()
    named = {name: getattr(ui, name) for name in ("prompt", "level", "method", "count", "shown", "folder", "volume")}
    tag = made.connectParametersToGui(named)
    assert ui.prompt.text == "brain tumor" and ui.level.value == 0.5 and ui.level.maximum == 1
    assert ui.method.currentText == "KMEANS" and ui.count.value == 3 and ui.count.minimum == 1 and ui.shown.checked
    made.prompt, made.level, made.method, made.shown = "liver", 0.25, Method.OTSU, False
    made.volume, made.folder = volume("head"), pathlib.Path("/x")
    assert (ui.prompt.text, ui.level.value, ui.method.currentText, ui.shown.checked) == ("liver", 0.25, "OTSU", False)
    assert ui.volume.currentNode() is made.volume and ui.folder.currentPath == "/x"
    ui.prompt.text, ui.level.value, ui.count.value, ui.shown.checked = "lung", 0.75, 9, True
    ui.method.setCurrentIndex(1)
    ui.folder.currentPath = "/y"
    ui.volume.setCurrentNode(None)
    assert (made.prompt, made.level, made.count, made.shown) == ("lung", 0.75, 9, True)
    assert made.method is Method.KMEANS and made.folder == pathlib.Path("/y") and made.volume is None
    made.disconnectGui(tag)
    ui.prompt.text = "spleen"
    assert made.prompt == "lung"
    made.level = 0.1
    assert ui.level.value == 0.75


@parameterPack
class Inner:
    format: Annotated[str, Choice(["nnunet", "plain"])] = "nnunet"
    score: Annotated[float, WithinRange(0, 1)] = 0.25


@parameterPack
class Outer:
    inner: Inner
    count: int = 2


@parameterNodeWrapper
class Packed:
    export: Outer
    either: Union[vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, None]  # noqa: UP007
    free: str


def test_packs_are_parameters_with_dotted_names(scene, ui) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    made = Packed(node)
    assert (made.export.count, made.export.inner.format, made.getValue("export.inner.score")) == (2, "nnunet", 0.25)
    assert node.GetParameter("export.inner.format") == "nnunet" and node.GetParameter("export.count") == "2"
    changes = []
    made.AddObserver("ModifiedEvent", lambda *_event: changes.append(made.export.inner.format))
    made.export.inner.format = "plain"
    assert changes == ["plain"] and node.GetParameter("export.inner.format") == "plain"
    made.setValue("export.count", 7)
    made.export = Outer(Inner("plain", 1), count=8)
    assert made.export == Outer(Inner("plain", 1.0), 8) and Packed(node).export.count == 8
    assert nestedParameterNames(Outer) == ["inner.format", "inner.score", "count"] and isParameterPack(made.export)
    for name, value, kind in (
        ("export.inner.format", "oblique", ValueError),
        ("export.inner.score", 2.0, ValueError),
        ("export.count", "2", TypeError),
        ("export.cuont", 2, ValueError),
        ("either", node, TypeError),
    ):
        with pytest.raises(kind):
            made.setValue(name, value)
    made.either = volume("head")
    assert made.either.GetName() == "head" and node.GetParameter("either.0") is not None
    made.either = None
    assert made.either is None and made.export.inner.format == "plain"
    tag = made.connectParametersToGui({"export.inner.format": ui.method, "export.inner.score": ui.level})
    assert ui.method.count == 2 and ui.method.currentText == "plain" and ui.level.value == 1
    ui.method.setCurrentIndex(0)
    made.export.inner.score = 0.5
    assert made.export.inner.format == "nnunet" and ui.level.value == 0.5
    made.disconnectGui(tag)
    with pytest.raises((ValueError, TypeError)):
        parameterPack(type("Empty", (), {}))


def test_a_module_brings_a_connector_of_its_own(scene, ui) -> None:
    edit = qt.QTextBrowser()
    edit.setProperty("SlicerParameterName", "free")
    made = Packed(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises(RuntimeError):
        made.connectParametersToGui({"free": edit})

    @parameterNodeGuiConnector
    class Connector(GuiConnector):
        @staticmethod
        def canRepresent(widget, datatype) -> bool:
            return type(widget) == qt.QTextBrowser and datatype is str  # noqa: E721 - as Slicer's own do

        @staticmethod
        def create(widget, datatype):
            return Connector(widget)

        def __init__(self, widget) -> None:
            super().__init__()
            self._widget = widget

        def _connect(self) -> None:
            self._widget.textChanged.connect(self.changed)

        def _disconnect(self) -> None:
            self._widget.textChanged.disconnect(self.changed)

        def widget(self):
            return self._widget

        def read(self) -> str:
            return self._widget.plainText

        def write(self, value: str) -> None:
            if self._widget.plainText != value:
                self._widget.setPlainText(value)

    tag = made.connectParametersToGui({"free": edit})
    edit.setPlainText("typed")
    assert made.free == "typed"
    made.free = "set"
    assert edit.plainText == "set"
    made.disconnectGui(tag)
    edit.setPlainText("more")
    assert made.free == "set"
    made.connectParametersToGui({"free": Connector(edit)})
    assert edit.plainText == "set"


def test_what_every_slicer_does_with_texts_and_paths(scene, ui) -> None:
    """Traps of the connectors: an empty path is a dot, and a QTextEdit is written while the user types in it."""
    edit = qt.QTextEdit()
    made = parameters()
    made.connectParametersToGui({"folder": ui.folder, "prompt": edit})
    assert ui.folder.currentPath == "."
    edit.setPlainText("")
    for letter in "ab":
        edit.textCursor().insertText(letter)
    cursor = edit.textCursor()
    assert cursor.position() == 0


def test_what_differs_between_versions_is_as_in_the_version(ui) -> None:
    version = slicer.app.majorVersion, slicer.app.minorVersion
    made = parameters()
    assert (made.connectGui(ui) is None) == (version < (5, 10))  # the tag to undo it by
    assert hasattr(slicer, "packaging") == (version >= (5, 12))
    box = qt.QDoubleSpinBox()
    if version < (5, 10):
        with pytest.raises(RuntimeError):
            made.connectParametersToGui({"count": box})
    else:
        made.connectParametersToGui({"count": box})


def test_what_a_widget_cannot_hold_is_refused(ui) -> None:
    made = parameters()
    for name, widget in (
        ("prompt", ui.count),
        ("prompt", ui.method),  # no Choice
        ("folder", ui.prompt),
        ("count", ui.level),
        ("shown", ui.section),
    ):
        with pytest.raises(RuntimeError):
            made.connectParametersToGui({name: widget})
    ui.prompt.setProperty("SlicerParameterName", "promt")
    with pytest.raises(ValueError):
        made.connectGui(ui)
