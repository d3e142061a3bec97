"""The stand-in refuses what Slicer does not have, and shows what Slicer shows; the tests of the panel rely on it."""

from __future__ import annotations

import sys

import ctk
import numpy as np
import pytest
import qt
import slicer
import slicer.util
import standin
from parts import UI, load, volume

VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


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


def test_a_class_of_python_derives_from_one_of_qt_and_filters_events() -> None:
    class Filter(qt.QObject):
        def __init__(self) -> None:
            qt.QObject.__init__(self)
            self.seen = []

        def eventFilter(self, watched, event) -> bool:
            self.seen.append((watched, event.type() == qt.QEvent.Close))
            return event.type() == qt.QEvent.Close

    window, made = qt.QWidget(), Filter()
    window.installEventFilter(made)
    assert isinstance(made, qt.QObject)
    standin.unwrap(window).close()
    assert (window, True) in made.seen
    window.removeEventFilter(made)
    del made.seen[:]
    assert standin.unwrap(window).close() and not made.seen


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
    assert sorted(map(str, seen)) == ["(True, None)", "True", "none"]
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
    made = ui.volume.addNode()
    assert ui.volume.currentNode() is made
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


def test_the_user_picks_nodes_and_actions_in_a_selector(ui) -> None:
    seen = []
    for name in ("nodeActivated", "nodeAddedByUser", "nodeAddedByUserAction"):
        ui.volume.connect(f"{name}(vtkMRMLNode*)", lambda node, name=name: seen.append(name))
    head = volume("head")
    standin.mouse.pick(ui.volume, "head")
    assert ui.volume.currentNode() is head and seen == ["nodeActivated"]
    standin.mouse.pick(ui.volume, "Create new")
    made = ui.volume.currentNode()
    assert made is not head and seen[1:] == ["nodeAddedByUser", "nodeAddedByUserAction"]
    standin.mouse.pick(ui.volume, "Delete current")
    assert ui.volume.currentNode() is head and not slicer.mrmlScene.IsNodePresent(made)
    standin.mouse.pick(ui.volume, "None")
    assert ui.volume.currentNode() is None


def ink(widget, path) -> int:
    """Return the number of dark pixels of text that a widget is drawn with."""
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
