"""What the tests of the panel rely on: the stand-in refuses what Slicer does not have, and shows what it does."""

from __future__ import annotations

import enum
import pathlib
import sys
from typing import Annotated, Optional, Union

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicer.util
import standin
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    GuiConnector,
    Minimum,
    WithinRange,
    isParameterPack,
    nestedParameterNames,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import *  # noqa: F403

UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Input</string></property>
 <layout class="QFormLayout"><item row="0" column="0"><widget class="QLabel" name="label">
  <property name="text"><string>Volume:</string></property></widget></item>
 <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
  <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property>
  <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
 <item row="1" column="1"><widget class="QLineEdit" name="prompt">
  <property name="SlicerParameterName" stdset="0"><string>prompt</string></property></widget></item>
 <item row="2" column="1"><widget class="ctkSliderWidget" name="level">
  <property name="SlicerParameterName" stdset="0"><string>level</string></property>
  <property name="decimals"><number>2</number></property><property name="singleStep"><double>0.05</double></property>
  <property name="suffix"><string> mm</string></property></widget></item>
 <item row="3" column="1"><widget class="QComboBox" name="method">
  <property name="SlicerParameterName" stdset="0"><string>method</string></property></widget></item>
 <item row="4" column="1"><widget class="QSpinBox" name="count">
  <property name="SlicerParameterName" stdset="0"><string>count</string></property></widget></item>
 <item row="5" column="1"><widget class="QCheckBox" name="shown">
  <property name="SlicerParameterName" stdset="0"><string>shown</string></property></widget></item>
 <item row="6" column="1"><widget class="ctkPathLineEdit" name="folder">
  <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property>
  <property name="SlicerParameterName" stdset="0"><string>folder</string></property></widget></item>
 </layout></widget></item>
<item><widget class="ctkCollapsibleButton" name="closed"><property name="text"><string>Settings</string></property>
 <property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout"><item>
 <widget class="QPushButton" name="inside"><property name="text"><string>Inside</string></property></widget></item>
 </layout></widget></item>
<item><widget class="qMRMLSegmentEditorWidget" name="editor"/></item>
</layout></widget>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""

VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


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


def load(tmp_path, ui: str = UI):
    path = tmp_path / "panel.ui"
    path.write_text(ui)
    return slicer.util.loadUI(str(path))


def parameters() -> Parameters:
    return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def volume(name: str) -> vtkMRMLScalarVolumeNode:
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


@pytest.fixture
def ui(scene, tmp_path):
    panel = load(tmp_path)
    panel.setMRMLScene(scene)
    made = slicer.util.childWidgetVariables(panel)
    yield made
    panel.deleteLater()


def test_what_qt_does_not_have_is_an_error() -> None:
    button = qt.QPushButton("Go")
    assert button.text == "Go" and button.enabled and not button.checked
    button.enabled = False
    assert not button.enabled
    with pytest.raises(AttributeError):
        button.enabeld = True
    with pytest.raises(AttributeError):
        button.txet
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(AttributeError):
        button.height = 3  # cannot be written
    with pytest.raises(TypeError):
        button.text = None
    with pytest.raises(TypeError):
        qt.QSpinBox().value = 2.7
    for name in ("QPushButon", "Signal", "QtCore"):
        with pytest.raises(AttributeError):
            getattr(qt, name)
    with pytest.raises(AttributeError):
        qt.QProcess.NotRuning
    assert qt.QProcess().state() == qt.QProcess.NotRunning
    assert isinstance(button, qt.QPushButton) and not isinstance(button, qt.QLabel)
    for found in (qt.Qt.AlignLeft, qt.QMessageBox.Yes, qt.QSizePolicy.Expanding, qt.QKeySequence("Alt+S")):
        assert found


def test_signals_are_connected_by_their_signature_and_give_as_many_arguments_as_wanted() -> None:
    button, seen = qt.QPushButton(), []
    button.checkable = True
    with pytest.raises(AttributeError):
        button.connect("clickd(bool)", print)
    with pytest.raises(AttributeError):
        button.connect("clicked(int)", print)
    none = lambda: seen.append("none")  # noqa: E731
    button.connect("clicked( bool )", none)
    button.connect("toggled(bool)", lambda on: seen.append(on))
    button.clicked.connect(lambda on, more=None: seen.append((on, more)))
    button.click()
    assert seen == ["none", (True, None), True] or sorted(map(str, seen)) == sorted(["none", "(True, None)", "True"])
    assert button.disconnect("clicked(bool)", none) and not button.disconnect("clicked(bool)", none)
    seen.clear()
    button.click()
    assert "none" not in seen and len(seen) == 2


def test_one_object_has_one_proxy() -> None:
    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    label = qt.QLabel("a", parent)
    layout.addWidget(label)
    assert parent.layout() is layout and label.parent() is parent
    assert parent.findChildren(qt.QLabel) == [label]


def test_an_error_in_a_slot_or_observer_is_not_lost(scene) -> None:
    button = qt.QPushButton()
    button.connect("clicked(bool)", lambda: 1 / 0)
    button.click()
    with pytest.raises(ZeroDivisionError):
        standin.pump(lambda: True)
    node = volume("a")
    node.AddObserver("ModifiedEvent", lambda caller, event: [][0])
    node.SetName("b")
    with pytest.raises(IndexError):
        standin.check()


def test_a_process_echoes_bytes() -> None:
    process, ended = qt.QProcess(), []
    received = bytearray()
    process.connect("readyReadStandardOutput()", lambda: received.extend(process.readAllStandardOutput().data()))
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    process.connect("errorOccurred(QProcess::ProcessError)", lambda error: ended.append(error))
    echo = "import sys; d = sys.stdin.buffer.read(8); sys.stdout.buffer.write(d); sys.exit(3)"
    process.start(sys.executable, ["-c", echo])
    data = bytes([0, 255, 10, 13, 1, 2, 3, 128])
    process.write(data)
    standin.pump(lambda: ended, 20)
    assert ended == [(3, qt.QProcess.NormalExit)] and bytes(received) == data
    failing, failures = qt.QProcess(), []
    failing.connect("errorOccurred(QProcess::ProcessError)", lambda error: failures.append(error))
    failing.start("/no/such/program", [])
    standin.pump(lambda: failures, 10)
    assert failures == [qt.QProcess.FailedToStart]


def test_settings_are_not_the_users(tmp_path) -> None:
    settings = qt.QSettings()
    settings.setValue("MedCLIPSAM/Key", "value")
    assert slicer.util.settingsValue("MedCLIPSAM/Key", "") == "value"
    assert "standin-settings-" in settings.fileName() and "standin-settings-" in qt.QSettings("a", "b").fileName()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('name="noneEnabled"', 'name="noneEnabeld"'),
        ("ctkSliderWidget", "ctkSliderWidgett"),
        ("ctkPathLineEdit::Dirs", "ctkPathLineEdit::Directories"),
        ("mrmlSceneChanged", "mrmlSceneChangd"),
        ("setMRMLScene", "setMRMLScen"),
        ("<receiver>volume", "<receiver>volumes"),
    ],
)
def test_a_ui_file_with_a_wrong_name_is_refused(tmp_path, right: str, wrong: str) -> None:
    with pytest.raises((ValueError, AttributeError, KeyError)):
        load(tmp_path, UI.replace(right, wrong))
    with pytest.raises(RuntimeError):
        slicer.util.loadUI(str(tmp_path / "none.ui"))


def test_the_selector_follows_the_scene_and_is_disabled_without(ui, tmp_path) -> None:
    lonely = slicer.util.childWidgetVariables(load(tmp_path, UI.split("<connections>")[0] + "</ui>"))
    lonely.Panel.setMRMLScene(slicer.mrmlScene)
    assert not lonely.volume.enabled and ui.volume.enabled
    seen = []
    ui.volume.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    ui.volume.connect("currentNodeChanged(bool)", seen.append)
    node = volume("head")
    assert ui.volume.currentNode() is None and ui.volume.nodeCount() == 1
    ui.volume.setCurrentNode(node)
    assert ui.volume.currentNode() is node and ui.volume.currentNodeID == node.GetID() and seen == [node, True]
    ui.volume.setCurrentNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    assert ui.volume.currentNode() is None
    ui.volume.baseName = "made"
    made = ui.volume.addNode()
    assert made.GetName() == "made" and ui.volume.currentNode() is made
    last = volume("last")
    ui.volume.setCurrentNode(last)
    seen.clear()
    slicer.mrmlScene.RemoveNode(last)  # the row before it is taken, and that without a word
    assert ui.volume.currentNode() is made and seen == [made, True]
    slicer.mrmlScene.RemoveNode(made)
    slicer.mrmlScene.RemoveNode(node)  # before the first one is None
    assert ui.volume.currentNode() is None
    node = volume("head")
    assert ui.volume.currentNode() is None
    ui.volume.setCurrentNode(node)
    seen.clear()
    slicer.mrmlScene.Clear(0)
    assert ui.volume.currentNode() is None and seen == [None, False]
    ui.volume.currentNodeChanged.connect(seen.append)  # the first of the two that the class declares
    ui.volume.setCurrentNode(volume("other"))
    assert seen.count(ui.volume.currentNode()) == 2
    with pytest.raises(AttributeError):
        ui.volumes


def ink(widget, path) -> int:
    """How many dark pixels of text a widget is drawn with."""
    image = standin.screenshot(widget, path, width=360).convertToFormat(standin.GRAY)
    pixels = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return int((pixels[:, 8 : image.width() - 40] < 110).sum())


def test_the_selector_is_drawn_with_the_name_of_its_node(scene, tmp_path) -> None:
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.setMRMLScene(scene)
    blank = ink(box, tmp_path / "blank.png")
    node = volume("MRHead")
    assert box.currentNode() is None  # nothing is chosen for the user
    box.setCurrentNode(node)
    short = ink(box, tmp_path / "short.png")
    node.SetName("MRHead of a second and longer name")
    assert blank == 0 and short > 50 and ink(box, tmp_path / "long.png") > 2 * short


def test_a_collapsed_section_hides_its_contents(ui, tmp_path) -> None:
    ui.Panel.show()
    standin.pump(lambda: ui.section.visible)
    assert not ui.inside.visible and ui.prompt.visible and not ui.closed.checked
    ui.inside.setVisible(True)
    assert not ui.inside.visible
    seen = []
    ui.closed.connect("contentsCollapsed(bool)", seen.append)
    ui.label.setVisible(False)
    ui.section.collapsed = True
    ui.closed.collapsed = False
    assert ui.inside.visible and not ui.prompt.visible and seen == [False]
    ui.section.click()
    assert ui.prompt.visible and not ui.label.visible and not ui.section.collapsed


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


def test_a_module_brings_a_connector_of_its_own(scene) -> None:
    edit = qt.QPlainTextEdit()
    made = Packed(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    with pytest.raises(RuntimeError):
        made.connectParametersToGui({"free": edit})

    class Connector(GuiConnector):
        canRepresent = create = staticmethod(lambda widget, datatype: None)

        def _connect(self) -> None:
            edit.textChanged.connect(self.changed)

        def _disconnect(self) -> None:
            edit.textChanged.disconnect(self.changed)

        def widget(self):
            return edit

        def read(self) -> str:
            return edit.plainText

        def write(self, value: str) -> None:
            if edit.plainText != value:
                edit.setPlainText(value)

    tag = made.connectParametersToGui({"free": Connector()})
    edit.setPlainText("typed")
    assert made.free == "typed"
    made.free = "set"
    assert edit.plainText == "set"
    made.disconnectGui(tag)
    edit.setPlainText("more")
    assert made.free == "set"


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


@pytest.fixture
def editor(ui):
    ui.editor.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    ui.editor.setMRMLScene(slicer.mrmlScene)
    yield ui.editor
    ui.editor.setMRMLSegmentEditorNode(None)


def segmentation(name: str, *segments: str) -> vtkMRMLSegmentationNode:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for each in segments:
        node.GetSegmentation().AddEmptySegment(each, each)
    return node


def test_the_segment_editor_undoes_what_was_saved(editor) -> None:
    node, seen = segmentation("one"), []
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    editor.setSegmentationNode(node)
    editor.saveStateForUndo()
    node.GetSegmentation().AddEmptySegment("tumour", "tumour")
    assert editor.segmentationNode() is node and editor.currentSegmentID() == ""  # a new segment is not selected
    editor.setCurrentSegmentID("tumour")
    assert editor.currentSegmentID() == "tumour" and seen == []  # the signal is of the user's choice
    editor.undo()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert editor.currentSegmentID() == "" and seen == [""]
    editor.redo()
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    editor.maximumNumberOfUndoStates = 4
    assert editor.maximumNumberOfUndoStates == 4
    slicer.mrmlScene.Clear(0)
    assert editor.segmentationNode() is None


def test_the_segment_editor_has_selectors_of_its_own(editor) -> None:
    seen = []
    editor.connect("segmentationNodeChanged(vtkMRMLSegmentationNode*)", seen.append)
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    one, two = segmentation("one", "a", "b"), segmentation("two", "c")
    editor.setSegmentationNode(one)
    assert seen == ["a", one] and editor.currentSegmentID() == "a"
    selector = slicer.util.findChild(editor, "SegmentationNodeComboBox")
    selector.setCurrentNode(two)
    assert editor.segmentationNode() is two and seen[2:] == ["c", two]
    slicer.mrmlScene.RemoveNode(two)
    assert editor.segmentationNode() is one and selector.currentNode() is one
    slicer.mrmlScene.RemoveNode(one)
    assert editor.segmentationNode() is None
    editor.segmentationNodeSelectorVisible = False
    assert not selector.visible


def test_effects_are_found_by_name_and_end_when_the_mouse_places_points(editor) -> None:
    node, head = segmentation("one", "a"), volume("head")
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(head)
    assert editor.sourceVolumeNode() is head and editor.effectByName("Pain") is None
    editor.setActiveEffectByName("Paint")
    paint = editor.activeEffect()
    assert paint.name == "Paint" and paint is editor.effectByName("Paint") and paint.active()
    paint.setParameter("BrushRelativeDiameter", 5.25)
    assert paint.parameter("BrushRelativeDiameter") == "5.25" and paint.doubleParameter("BrushRelativeDiameter") == 5.25
    assert editor.mrmlSegmentEditorNode().GetAttribute("Paint.BrushRelativeDiameter") == "5.25"
    mouse = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    mouse.SetCurrentInteractionMode(mouse.Place)
    assert editor.activeEffect() is None and mouse.GetCurrentInteractionMode() == mouse.Place
    editor.setActiveEffectByName("Erase")
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform
    with pytest.raises(ValueError):
        editor.setActiveEffectByName("Pain")
    editor.setSegmentationNode(None)
    assert editor.activeEffect() is None


EFFECT = """
import qt, slicer, vtk
from SegmentEditorEffects import *


class SegmentEditorFillEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        scriptedEffect.name = "Fill"
        scriptedEffect.title = "Fill it"
        AbstractScriptedSegmentEditorEffect.__init__(self, scriptedEffect)

    def clone(self):
        import qSlicerSegmentationsEditorEffectsPythonQt as effects

        made = effects.qSlicerSegmentEditorScriptedEffect(None)
        made.setPythonSource(__file__.replace("\\\\", "/"))
        return made

    def setupOptionsFrame(self):
        self.edit = qt.QLineEdit()
        self.label = self.scriptedEffect.addLabeledOptionsWidget("What:", self.edit)
        self.button = qt.QPushButton("Apply")
        self.scriptedEffect.addOptionsWidget(self.button)
        self.button.connect("clicked()", self.apply)
        self.edit.connect("textChanged(QString)", self.updateMRMLFromGUI)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("What", "all")
        self.scriptedEffect.setCommonParameterDefault("Share", 0.5)

    def updateGUIFromMRML(self):
        self.edit.text = self.scriptedEffect.parameter("What")

    def updateMRMLFromGUI(self):
        self.scriptedEffect.setParameter("What", self.edit.text)

    def apply(self):
        if self.scriptedEffect.confirmCurrentSegmentVisible() == self.scriptedEffect.NotConfirmed:
            return
        self.scriptedEffect.saveStateForUndo()
        labelmap = self.scriptedEffect.defaultModifierLabelmap()
        labelmap.GetPointData().GetScalars().Fill(1)
        mode = slicer.qSlicerSegmentEditorAbstractEffect.ModificationModeSet
        self.scriptedEffect.modifySelectedSegmentByLabelmap(labelmap, mode)
"""


def test_an_effect_of_python_changes_the_segment(editor, tmp_path) -> None:
    import qSlicerSegmentationsEditorEffectsPythonQt as effects

    folder = tmp_path / "SegmentEditorFillLib"
    folder.mkdir()
    path = folder / "SegmentEditorFillEffect.py"
    path.write_text(EFFECT)
    effect = effects.qSlicerSegmentEditorScriptedEffect(None)
    assert not effect.setPythonSource("effect.txt") and effect.setPythonSource(str(path))
    effect.self().register()
    assert editor.effectByName("Fill") is None
    editor.updateEffectList()
    fill = editor.effectByName("Fill")
    assert fill.title == "Fill it" and fill.parameterSetNode() is editor.mrmlSegmentEditorNode()
    assert fill.parameter("What") == "all" and fill.doubleParameter("Share") == 0.5
    node, head = segmentation("one", "a"), volume("head")
    slicer.util.updateVolumeFromArray(head, np.zeros((2, 3, 4), np.int16))
    node.SetReferenceImageGeometryParameterFromVolumeNode(head)
    editor.setSegmentationNode(node)
    assert editor.sourceVolumeNode() is head and not fill.optionsFrame().isVisibleTo(editor)
    editor.setActiveEffectByName("Fill")
    own = fill.self()
    assert fill.optionsFrame().isVisibleTo(editor) and own.edit.text == "all" and own.label.text == "What:"
    own.edit.text = "half"
    assert fill.parameter("What") == "half"
    own.button.click()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 24
    editor.undo()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 0
    node.GetDisplayNode().SetSegmentVisibility("a", False)
    standin.answers["confirm"] = False
    own.button.click()
    assert slicer.util.arrayFromSegmentBinaryLabelmap(node, "a", head).sum() == 0
    fill.parameter("Waht")
    with pytest.raises(KeyError):
        standin.check()


def test_browse_asks_for_what_the_filters_say(ui) -> None:
    kinds = ctk.ctkPathLineEdit
    seen = []
    ui.folder.connect("currentPathChanged(QString)", seen.append)
    for filters, dialog in (
        (kinds.Dirs, "getExistingDirectory"),
        (kinds.Dirs | kinds.Writable, "getExistingDirectory"),
        (kinds.Files, "getOpenFileName"),
        (kinds.Files | kinds.Writable, "getSaveFileName"),
        (kinds.Dirs | kinds.Files | kinds.Drives, "getOpenFileName"),
        (ctk.ctkPathLineEdit().filters, "getOpenFileName"),
    ):
        standin.messages.clear()
        standin.answers[f"QFileDialog.{dialog}"] = f"/{dialog}"
        ui.folder.filters = filters
        ui.folder.browse()
        assert [kind for kind, _title in standin.messages] == [f"QFileDialog.{dialog}"]
        assert ui.folder.currentPath == f"/{dialog}"
    seen.clear()
    ui.folder.currentPath = ""
    assert seen == []  # that a path is empty is not told
    ui.folder.nameFilters = ["Tables (*.csv)"]
    ui.folder.currentPath = "/a/b.txt"
    ui.folder.currentPath = "/a/b.csv"
    assert seen == ["/a/b.csv"]


def test_the_scene_always_has_its_views_and_singletons(scene) -> None:
    for _time in range(2):
        scene.Clear(0)
        for name in slicer.app.layoutManager().sliceViewNames():
            widget = slicer.app.layoutManager().sliceWidget(name)
            assert widget.mrmlSliceNode().GetLayoutName() == name
            assert widget.mrmlSliceNode().GetOrientation() == VIEWS[name]
            assert widget.sliceLogic().GetSliceNode() is widget.mrmlSliceNode()
            assert widget.sliceLogic().GetSliceCompositeNode().GetLayoutName() == name
        assert scene.GetNodeByID("vtkMRMLInteractionNodeSingleton") is not None
        assert slicer.app.applicationLogic().GetSelectionNode() is not None
    for thing, name in ((slicer.app, "aplicationLogic"), (slicer.modules, "markup"), (ctk, "ctkRangeWidgett")):
        with pytest.raises(AttributeError):
            getattr(thing, name)
    assert slicer.modules.markups.logic().GetMRMLScene() is scene and slicer.app.majorVersion == 5


def test_dialogs_are_kept_and_answered() -> None:
    slicer.util.errorDisplay("no model", detailedText="...")
    assert slicer.util.confirmOkCancelDisplay("install?")
    standin.answers["confirm"] = False
    assert not slicer.util.confirmYesNoDisplay("sure?")
    assert standin.messages == [("error", "no model"), ("confirm", "install?"), ("confirm", "sure?")]
    with pytest.raises(RuntimeError, match="would wait"):
        qt.QFileDialog.getExistingDirectory(None, "Folder")
    standin.answers["QFileDialog.getExistingDirectory"] = "/data"
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/data"
    with pytest.raises(RuntimeError):
        qt.QDialog().exec_()
    slicer.util.pip_install("nothing")


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
        slicer.util.selectModule("Smal")


def test_the_environment_before_the_launcher_is_known(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/slicer/lib/Python")
    assert "PYTHONHOME" not in slicer.util.startupEnvironment() and slicer.util.startupEnvironment()["PATH"]
    assert qt.QProcessEnvironment.systemEnvironment().value("PYTHONHOME") == "/slicer/lib/Python"


def test_placing_goes_on_or_ends(scene) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    mouse = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    with pytest.raises(RuntimeError):
        standin.mouse.place(node, 1, 2, 3)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
    selection.SetActivePlaceNodeID(node.GetID())
    mouse.SetPlaceModePersistence(1)
    mouse.SetCurrentInteractionMode(mouse.Place)
    standin.mouse.place(node, 1, 2, 3)
    assert mouse.GetCurrentInteractionMode() == mouse.Place and node.GetNumberOfControlPoints() == 1
    standin.mouse.stop_placing()
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform and mouse.GetPlaceModePersistence() == 1
    mouse.SetPlaceModePersistence(0)
    mouse.SetCurrentInteractionMode(mouse.Place)
    standin.mouse.place(node, 1, 2, 3)
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform
