"""The panel in cases in which Slicer behaves in unexpected ways, each according to Slicer's source.

The tests only use what a user sees and does: the widgets of the panel by their names, the parameter node, the scene
with its tags, keys and mouse.
"""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from heads import add_volume, segment
from MedCLIPSAMScene import protect, segmentTags
from parts import move_to, shown_volume
from PySide6 import QtCore, QtGui

MODULE = Path(__file__).resolve().parents[2] / "MedCLIPSAM" / "MedCLIPSAM.py"


def segmentation(of, name: str, *segments: str):
    """Add segments with some voxels each."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(of)
    mask = np.zeros((4, 12, 16), np.uint8)
    mask[1, 3:6, 3:6] = 1
    for segment_name in segments:
        node.GetSegmentation().AddEmptySegment(segment_name, segment_name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment_name, of)
    return node


def choose(panel, head, node, segment: str) -> None:
    """Correct a segment as a user does."""
    panel.ui.inputVolumeSelector.setCurrentNode(head)
    panel.ui.segmentationSelector.setCurrentNode(node)
    standin.mouse.pick_segment(panel.ui.segmentEditor, segment)


def is_locked(node, segment: str) -> bool:
    return segmentTags.tag(node, segment, protect.LOCKED_TAG) == protect.ALL


@pytest.fixture
def mouse(scene):
    node = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    before = node.GetPlaceModePersistence()
    yield node
    node.SetCurrentInteractionMode(node.ViewTransform)
    node.SetPlaceModePersistence(before)


def test_a_logic_is_made_and_keeps_its_parameters(scene) -> None:
    standin.load_module(MODULE)
    from MedCLIPSAM import MedCLIPSAMLogic

    logic = MedCLIPSAMLogic()
    assert logic.moduleName == "MedCLIPSAM"
    assert logic.getParameterNode() is MedCLIPSAMLogic().getParameterNode()
    logic.close()


def test_the_panel_follows_the_segmentation_chosen_in_the_editor(panel) -> None:
    head = shown_volume()
    one, two = segmentation(head, "one", "A"), segmentation(head, "two", "B")
    choose(panel, head, one, "A")
    editor = panel.ui.segmentEditor
    if editor.segmentationNodeSelectorVisible:
        slicer.util.findChild(editor, "SegmentationNodeComboBox").setCurrentNode(two)
        assert panel.ui.segmentationSelector.currentNode() is two
    else:
        panel.ui.segmentationSelector.setCurrentNode(two)
    assert editor.segmentationNode() is two and panel.parameters.segmentation is two
    panel.ui.lockSegmentButton.click()
    assert [is_locked(one, "A"), is_locked(two, "B")] == [False, True]


def test_the_lock_shown_is_that_of_the_segment_chosen_in_the_editor(panel) -> None:
    head = shown_volume()
    node = segmentation(head, "one", "A", "B")
    choose(panel, head, node, "A")
    panel.ui.lockSegmentButton.click()
    assert panel.ui.lockSegmentButton.checked
    panel.ui.segmentEditor.setCurrentSegmentID("B")  # by Q and W there is no signal of the widget
    assert not panel.ui.lockSegmentButton.checked
    standin.mouse.pick_segment(panel.ui.segmentEditor, "A")
    assert panel.ui.lockSegmentButton.checked
    standin.mouse.pick_segment(panel.ui.segmentEditor, "B")
    assert not panel.ui.lockSegmentButton.checked
    panel.ui.lockSegmentButton.click()
    assert is_locked(node, "A") and is_locked(node, "B")


def test_the_lock_shown_is_that_of_the_slice_shown(panel) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    panel.ui.lockSliceButton.click()
    assert panel.ui.lockSliceButton.checked
    move_to(2)
    assert not panel.ui.lockSliceButton.checked
    move_to(1)
    assert panel.ui.lockSliceButton.checked
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    composite.SetBackgroundVolumeID(shown_volume("other").GetID())
    assert not panel.ui.lockSliceButton.enabled and "shows 'other'" in panel.ui.lockSliceButton.toolTip
    composite.SetBackgroundVolumeID(head.GetID())
    assert panel.ui.lockSliceButton.enabled and panel.ui.lockSliceButton.checked


def test_slices_that_are_locked_on_another_volume_are_unlocked_with_the_segment(panel) -> None:
    head = shown_volume()
    node = segmentation(head, "one", "A")
    choose(panel, head, node, "A")
    panel.ui.lockSliceButton.click()
    other = shown_volume("of thinner slices")
    other.SetSpacing(1, 1, 1)
    choose(panel, other, node, "A")
    assert panel.ui.lockSegmentButton.checked and not panel.ui.lockSliceButton.enabled
    assert "another voxel grid" in panel.ui.lockSliceButton.toolTip
    panel.ui.lockSegmentButton.click()
    assert not panel.ui.lockSegmentButton.checked and panel.ui.lockSliceButton.enabled
    panel.ui.lockSliceButton.click()
    assert panel.ui.lockSliceButton.checked and not panel.ui.lockSegmentButton.checked


@pytest.fixture
def layouts(scene):
    """The layout manager, with the views of the first layout alone after the test."""
    yield slicer.app.layoutManager()
    standin.unwrap(slicer.app.layoutManager()).forget()


def test_the_lock_shown_is_that_of_the_slice_in_a_view_of_another_layout(panel, layouts) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView)
    panel.ui.viewBox.setCurrentIndex(panel.ui.viewBox.findData("Red+"))
    view = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed+")
    for number in (1, 3, 2):
        view.SetSliceOffset(2.0 * number)
        assert panel.ui.lockSliceButton.text == f"Lock axial {number}"


def test_a_segmentation_that_was_shown_is_let_go_of(panel) -> None:
    head, gone = shown_volume(), []
    node = segmentation(head, "one", "A")
    choose(panel, head, node, "A")
    panel.ui.lockSegmentButton.click()
    slicer.util.selectModule("Data")
    slicer.util.selectModule("MedCLIPSAM")
    choose(panel, head, segmentation(head, "two", "B"), "B")
    node.AddObserver("DeleteEvent", lambda *_event: gone.append(True))
    slicer.mrmlScene.RemoveNode(node)
    del node
    gc.collect()
    assert gone


def test_a_refused_lock_leaves_no_button_pressed(panel) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    move_to(40)
    panel.ui.lockSliceButton.enabled = True  # where it was not disabled for the same reason
    panel.ui.lockSliceButton.click()
    assert not panel.ui.lockSliceButton.checked and "Red" in panel.ui.statusLabel.text


@pytest.mark.parametrize("how", ["undo", "remove"])
def test_what_needs_a_segment_is_disabled_when_the_only_one_goes(panel, how: str) -> None:
    head = shown_volume()
    node = segmentation(head, "one")
    panel.ui.inputVolumeSelector.setCurrentNode(head)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.segmentEditor.saveStateForUndo()
    node.GetSegmentation().AddEmptySegment("A", "A")
    standin.mouse.pick_segment(panel.ui.segmentEditor, "A")
    buttons = panel.ui.propagateButton, panel.ui.lockSliceButton, panel.ui.lockSegmentButton
    assert all(button.enabled for button in buttons)
    if how == "undo":
        panel.ui.segmentEditor.undo()  # Ctrl+Z
    else:
        node.GetSegmentation().RemoveSegment("A")
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert not any(button.enabled for button in buttons)
    for button in buttons:
        button.click()
    standin.check()


@pytest.mark.parametrize("persistent", [0, 1])
def test_a_right_click_ends_placing(panel, mouse, persistent: int) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    mouse.SetPlaceModePersistence(persistent)
    panel.ui.insideButton.click()
    assert mouse.GetCurrentInteractionMode() == mouse.Place and mouse.GetPlaceModePersistence() == 1
    standin.mouse.stop_placing()
    assert not panel.ui.insideButton.checked and not panel.ui.outsideButton.checked
    assert mouse.GetCurrentInteractionMode() == mouse.ViewTransform
    assert mouse.GetPlaceModePersistence() == persistent
    panel.ui.outsideButton.click()
    assert panel.ui.outsideButton.checked and mouse.GetCurrentInteractionMode() == mouse.Place
    panel.ui.segmentEditor.setActiveEffectByName("Paint")  # takes the mouse too
    assert not panel.ui.outsideButton.checked and mouse.GetPlaceModePersistence() == persistent
    assert panel.ui.segmentEditor.activeEffect().name == "Paint"


def test_escape_ends_placing(panel, mouse) -> None:
    """There is only one shortcut for that key; with two, Qt would call neither."""
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    panel.ui.outsideButton.click()
    assert mouse.GetCurrentInteractionMode() == mouse.Place
    window = standin.unwrap(slicer.util.mainWindow())
    (escape,) = [shortcut for shortcut in window.findChildren(QtGui.QShortcut) if shortcut.key().toString() == "Esc"]
    escape.activated.emit()
    assert not panel.ui.outsideButton.checked and mouse.GetCurrentInteractionMode() == mouse.ViewTransform


def test_another_mouse_mode_of_the_user_is_left_alone(panel, mouse) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    mouse.SetCurrentInteractionMode(mouse.AdjustWindowLevel)
    slicer.util.selectModule("Welcome")
    assert mouse.GetCurrentInteractionMode() == mouse.AdjustWindowLevel
    slicer.util.selectModule("MedCLIPSAM")
    assert mouse.GetCurrentInteractionMode() == mouse.AdjustWindowLevel
    panel.ui.insideButton.click()
    mouse.SetCurrentInteractionMode(mouse.AdjustWindowLevel)  # the button of the toolbar
    assert not panel.ui.insideButton.checked and mouse.GetCurrentInteractionMode() == mouse.AdjustWindowLevel


def test_no_other_segmentation_is_taken_in_place_of_one_that_is_removed(panel) -> None:
    head = shown_volume()
    one, two = segmentation(head, "one", "A"), segmentation(head, "two", "B")
    choose(panel, head, two, "B")
    slicer.mrmlScene.RemoveNode(two)
    assert panel.ui.segmentationSelector.currentNode() is None and panel.parameters.segmentation is None
    assert panel.ui.segmentEditor.segmentationNode() is not one


def test_no_other_volume_is_taken_in_place_of_one_that_is_removed(panel) -> None:
    shown_volume("first")
    second = shown_volume("second")
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    panel.ui.promptEdit.setPlainText("brain tumor")
    assert panel.ui.segmentButton.enabled
    slicer.mrmlScene.RemoveNode(second)
    assert panel.ui.inputVolumeSelector.currentNode() is None and panel.parameters.inputVolume is None
    assert not panel.ui.segmentButton.enabled


def test_a_scene_that_is_closed_is_not_written_to_any_more(panel) -> None:
    """In Slicer 5.8 `connectGui` returns no tag, so it cannot be undone."""
    before, widget = panel.parameters.parameterNode, standin.unwrap(panel.ui.promptEdit)
    connections = widget.receivers(QtCore.SIGNAL("textChanged()"))
    assert connections > 0
    panel.ui.promptEdit.setPlainText("old")
    slicer.mrmlScene.Clear(0)
    assert widget.receivers(QtCore.SIGNAL("textChanged()")) == connections
    after = panel.parameters.parameterNode
    texts = [before.GetParameter(name) for name in before.GetParameterNames()]
    panel.ui.promptEdit.setPlainText("new")
    panel.ui.negativeEdit.text = "bone"
    assert panel.parameters.prompts == "new" and panel.parameters.negative == "bone"
    if after is not before:
        assert [before.GetParameter(name) for name in before.GetParameterNames()] == texts


def test_typing_goes_on_where_the_cursor_is(panel) -> None:
    for edit in (panel.ui.promptEdit, panel.ui.negativeEdit):
        widget = standin.unwrap(edit)
        edit.setFocus()
        for letter in "abc":
            if hasattr(widget, "textCursor"):
                cursor = widget.textCursor()
                cursor.insertText(letter)
                widget.setTextCursor(cursor)
            else:
                widget.insert(letter)
        text = edit.plainText if hasattr(widget, "textCursor") else edit.text
        assert text == "abc"
    widget = standin.unwrap(panel.ui.promptEdit)
    cursor = widget.textCursor()
    cursor.setPosition(1)
    widget.setTextCursor(cursor)
    widget.textCursor().insertText("X")
    assert panel.ui.promptEdit.plainText == "aXbc" and widget.textCursor().position() == 2


def test_a_command_of_the_users_own_starts_as_outside_slicer(panel, tmp_path, monkeypatch) -> None:
    for name in ("PYTHONHOME", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(name, "/slicer/lib")
    output = tmp_path / "environment.txt"
    script = tmp_path / "worker.sh"
    script.write_text(f"#!/bin/sh\nenv > {output}.part\nmv {output}.part {output}\n")
    script.chmod(0o755)
    try:
        panel.ui.remoteEdit.text = str(script)
        panel.ui.remoteEdit.editingFinished()
        panel.ui.refreshModelsButton.click()
        standin.pump(output.is_file, 20)
        environment = output.read_text()
        assert "PYTHONHOME=" not in environment and "LD_LIBRARY_PATH=" not in environment
        assert "PATH=" in environment
    finally:
        panel.ui.remoteEdit.text = ""
        panel.ui.remoteEdit.editingFinished()


def test_a_command_that_cannot_be_read_is_told_and_can_be_corrected(panel) -> None:
    try:
        for _ in range(2):
            panel.ui.remoteEdit.text = 'ssh "gpuhost'
            panel.ui.remoteEdit.editingFinished()
            panel.ui.refreshModelsButton.click()
            assert "The command of the worker cannot be read" in panel.ui.modelsLabel.text
            panel.ui.remoteEdit.text = ""
            panel.ui.remoteEdit.editingFinished()
            panel.ui.refreshModelsButton.click()
            standin.pump(lambda: "PyTorch" in panel.ui.modelsLabel.text, 120)
    finally:
        panel.ui.remoteEdit.text = ""
        panel.ui.remoteEdit.editingFinished()


def test_a_device_of_other_settings_is_the_automatic_one(panel) -> None:
    panel.machine.set("Device", "cuda:7")
    assert panel.models.models()[2] == "auto"


def test_a_saliency_map_is_not_offered_as_an_input(panel, phantom) -> None:
    head = add_volume(phantom.image)
    segment(panel, head)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") > 1, panel.ui.statusLabel.text
    offered = [
        panel.ui.inputVolumeSelector.nodeFromIndex(index) for index in range(panel.ui.inputVolumeSelector.nodeCount())
    ]
    assert offered == [head] and panel.ui.inputVolumeSelector.currentNode() is head


def test_the_module_is_in_slicers_own_category(scene) -> None:
    """The category's name is translated like Slicer's own, in the context of qSlicerAbstractCoreModule."""
    standin.translations["qSlicerAbstractCoreModule", "Segmentation"] = "Segmentierung"
    slicer.util.selectModule("Welcome")
    kept = vars(slicer.modules).copy()
    try:
        module = slicer.qSlicerScriptedLoadableModule(str(MODULE))
        module.load()
        assert list(module.categories) == ["Segmentierung"]
    finally:
        vars(slicer.modules).update(kept)


def test_placing_ends_with_the_point_list_that_is_removed(panel, mouse) -> None:
    head = shown_volume()
    choose(panel, head, segmentation(head, "one", "A"), "A")
    for _ in range(2):
        panel.ui.insideButton.click()
        (points,) = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        assert panel.ui.insideButton.checked and mouse.GetCurrentInteractionMode() == mouse.Place
        slicer.mrmlScene.RemoveNode(points)
        assert not panel.ui.insideButton.checked and mouse.GetCurrentInteractionMode() != mouse.Place
    panel.ui.insideButton.click()
    slicer.mrmlScene.RemoveNode(head)
    assert not panel.ui.insideButton.checked and mouse.GetCurrentInteractionMode() != mouse.Place
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
