"""Runs of the text prompt in the Segment Editor: cancelled, refused, several at once, and with removed nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from effects import NAME, apply, begin, by_panel, edit, paint, shown
from heads import add_volume, show
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import protect, segments, segmentTags
from MedCLIPSAMScene.samples import SAMPLE
from PySide6 import QtCore, QtTest, QtWidgets

SCREENSHOT = Path(__file__).resolve().parents[2] / "test-output" / "panel" / "effect.png"


@pytest.mark.parametrize("how", ["cancel", "other effect", "other segmentation"])
def test_a_run_is_cancelled(editor, panel, phantom, how) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    begin(effect)
    assert panel.busy and effect.cancelButton.enabled and not effect.applyButton.enabled
    assert shown(effect, effect.progressBar)
    if how == "cancel":
        effect.cancelButton.click()
    elif how == "other effect":
        editor.setActiveEffectByName("Paint")
    else:
        editor.setSegmentationNode(segments.newSegmentation(volume))
    standin.pump(lambda: not panel.busy, 60)
    assert "Cancelled" in effect.statusLabel.text
    assert not mask_on(node, "Segment_1", volume).any()


def test_a_run_goes_on_while_brightness_and_contrast_are_set(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    begin(effect)
    mouse = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    mouse.SetCurrentInteractionMode(mouse.AdjustWindowLevel)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    mouse.SetCurrentInteractionMode(mouse.ViewTransform)
    assert editor.activeEffect().name == NAME and "Found" in effect.statusLabel.text
    assert mask_on(node, "Segment_1", volume).any()


def test_the_segment_that_was_selected_gets_the_mask(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    settings = editor.mrmlSegmentEditorNode()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    whole = np.ones(expected.shape, bool)
    paint(node, "Segment_1", volume, whole)
    begin(effect)
    editor.setCurrentSegmentID("other")
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert editor.currentSegmentID() == "other" and not mask_on(node, "other", volume).any()
    mask = mask_on(node, "Segment_1", volume)
    assert (mask[1] == expected[1]).all() and mask[[0, 2]].all()


@pytest.mark.parametrize("gone", ["segment", "volume", "another volume"])
def test_nothing_is_written_when_what_was_worked_on_is_gone(editor, phantom, gone) -> None:
    twin, volume = add_volume(phantom.image), add_volume(phantom.image)
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    begin(effect)
    if gone == "segment":
        editor.setCurrentSegmentID("other")
        node.GetSegmentation().RemoveSegment("Segment_1")
    elif gone == "volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        editor.setSourceVolumeNode(twin)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    expected = {"segment": "segment was removed", "volume": "'head' was removed", "another volume": "chosen meanwhile"}
    assert expected[gone] in effect.statusLabel.text
    assert not mask_on(node, "other", twin).any()


def test_what_cannot_be_done_is_said(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    assert not effect.applyButton.enabled and "Type what the segment is" in effect.applyButton.toolTip
    protect.setLocked(node, "Segment_1", "axial", {1}, volume)
    assert "is locked" in apply(effect)
    show(volume, 1)
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS().SetElement(2, 3, 500)
    assert "shows no slice" in apply(effect)
    protect.setLocked(node, "Segment_1", "axial", set(), volume)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    show(volume, 1)
    panel.ui.segmentButton.click()
    assert "Another run" in apply(effect)
    panel.ui.cancelButton.click()


def test_enter_applies_and_the_prompt_is_remembered(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    assert shown(effect, effect.warningLabel) and "synthetic phantoms" in effect.warningLabel.text
    assert "not for diagnosis" in effect.researchLabel.text
    effect.promptEdit.setText(PROMPT)
    effect.whereBox.setCurrentIndex(1)
    parameters = editor.activeEffect()
    assert parameters.parameter("Prompt") == PROMPT and parameters.parameter("Where") == "view Yellow"
    editor.activeEffect().setParameter("Prompt", "lesion: (left); 100 %")
    editor.activeEffect().setParameter("Where", "view Red")
    assert effect.promptEdit.text == "lesion: (left); 100 %" and effect.whereBox.currentIndex == 0
    effect.promptEdit.setText("")
    assert not effect.applyButton.enabled
    effect.promptEdit.setText(PROMPT)
    standin.unwrap(effect.promptEdit).returnPressed.emit()
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert mask_on(node, "Segment_1", volume).any()
    standin.screenshot(editor, SCREENSHOT)
    volume.SetAttribute(SAMPLE, "MedCLIPSAMBrainMRI")
    editor.setActiveEffectByName("")
    editor.setActiveEffectByName(NAME)
    assert not shown(effect, effect.warningLabel) and effect.promptEdit.text == PROMPT


def test_a_volume_in_the_foreground_of_a_view_is_shown_there(editor, phantom) -> None:
    volume, behind = add_volume(phantom.image), add_volume(phantom.image)
    behind.SetName("CT")
    node, effect = edit(editor, volume)
    layers = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    layers.SetBackgroundVolumeID(behind.GetID())
    layers.SetForegroundVolumeID(volume.GetID())
    layers.SetForegroundOpacity(0)
    assert "The view 'Red' shows 'CT', not 'head'" in apply(effect)
    layers.SetForegroundOpacity(0.4)
    assert f"Found '{PROMPT}'" in apply(effect) and mask_on(node, "Segment_1", volume).any()


@pytest.mark.parametrize("absent", ["segment", "segmentation"])
def test_what_is_not_there_is_said(editor, phantom, absent: str) -> None:
    """Nothing tells effects that the selection was cleared, so the button stays enabled."""
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    effect.promptEdit.setText(PROMPT)
    settings = editor.mrmlSegmentEditorNode()
    if absent == "segment":
        settings.SetSelectedSegmentID(None)
    else:
        blocked = settings.StartModify()
        settings.SetAndObserveSegmentationNode(None)
    effect.applyButton.click()
    expected = {"segment": "No segment is selected", "segmentation": "No segmentation was chosen"}
    assert expected[absent] in effect.statusLabel.text and not mask_on(node, "Segment_1", volume).any()
    if absent == "segmentation":
        settings.EndModify(blocked)


def test_after_enter_undo_takes_the_mask_back_and_not_the_words(editor, phantom) -> None:
    slicer.util.selectModule("Welcome")  # the panel has the same keys
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    window, line = standin.unwrap(editor), standin.unwrap(effect.promptEdit)
    window.show()
    window.activateWindow()
    editor.installKeyboardShortcuts(editor)
    line.setFocus()
    QtWidgets.QApplication.processEvents()
    QtTest.QTest.keyClicks(line, PROMPT)
    QtTest.QTest.keyClick(line, QtCore.Qt.Key.Key_Return)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert mask_on(node, "Segment_1", volume).any()
    undo = QtCore.Qt.Key.Key_Z, QtCore.Qt.KeyboardModifier.ControlModifier
    QtTest.QTest.keyClick(QtWidgets.QApplication.focusWidget(), *undo)
    QtWidgets.QApplication.processEvents()
    editor.uninstallKeyboardShortcuts()
    window.hide()
    assert effect.promptEdit.text == PROMPT and not mask_on(node, "Segment_1", volume).any()


def test_how_is_the_panels_and_not_is_not_used(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    panel.parameters.negative = "skull"
    expected = by_panel(panel, volume, slices=range(3))
    assert not (expected == by_panel(panel, volume, whole=True)).all(), "the ways differ"
    panel.parameters.strategy = type(panel.parameters.strategy)("slices")
    node, effect = edit(editor, volume)
    apply(effect, where="volume axial")
    assert (mask_on(node, "Segment_1", volume) == expected).all()
    tags = segmentTags.tags(node.GetSegmentation().GetSegment("Segment_1"))
    assert not tags.get("MedCLIPSAM.Strategy") and not tags.get("MedCLIPSAM.Negative")
    assert "its <i>Not</i> is not used" in effect.helpText()


def test_two_editors_do_not_disturb_each_other(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    second = slicer.qMRMLSegmentEditorWidget()
    second.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    second.setMRMLScene(slicer.mrmlScene)
    other, own = edit(second, volume)
    begin(effect)
    assert own is not effect and not own.cancelButton.enabled
    assert "Another run" in apply(own)
    second.setActiveEffectByName("")
    assert panel.busy
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert mask_on(node, "Segment_1", volume).any() and not mask_on(other, "Segment_1", volume).any()
    second.setMRMLSegmentEditorNode(None)
    second.deleteLater()


def test_what_hinders_a_run_is_said_without_the_panel(editor, panel, phantom, torch, monkeypatch) -> None:
    """The effect is used before the module was opened; the models of the scene are the demo models."""
    from MedCLIPSAMScene import dependencies

    monkeypatch.delattr(slicer.modules, "MedCLIPSAMWidget")
    _, effect = edit(editor, add_volume(phantom.image))
    assert "synthetic phantoms only" in effect.warningLabel.text
    panel.parameters.clip = panel.parameters.sam = "biomedclip"
    editor.setActiveEffectByName("")
    editor.setActiveEffectByName(NAME)
    assert effect.warningLabel.text == ""
    monkeypatch.setattr(dependencies, "missing", lambda: [torch])
    editor.setActiveEffectByName("")
    editor.setActiveEffectByName(NAME)
    assert "torch must be installed first, under Installation in the module" in effect.warningLabel.text
    panel.machine.set("WorkerCommand", "ssh gpuhost python -m MedCLIPSAMLib.worker")
    effect.promptEdit.setText("brain")
    assert effect.warningLabel.text == ""
