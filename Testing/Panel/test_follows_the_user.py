"""The panel acts on what the user sees, even if that changes during a run."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from heads import add_volume, idle, outlined, segment, show
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import markups, overlay, protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks
from PySide6 import QtGui


def start(panel, volume) -> None:
    """Press Segment without waiting for the result."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.segmentButton.click()
    assert panel.busy


def test_a_volume_chosen_during_a_run_keeps_its_own_segmentation(panel, phantom) -> None:
    first = add_volume(phantom.image)
    segment(panel, first)
    written = panel.parameters.segmentation
    second = add_volume(phantom.image)
    other = segments.newSegmentation(second, "other")
    show(first, 1)
    start(panel, first)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    panel.ui.segmentationSelector.setCurrentNode(other)
    standin.pump(lambda: idle(panel), 60)
    assert "Found" in panel.ui.resultLabel.text
    assert panel.parameters.inputVolume is second
    assert panel.parameters.segmentation is other
    assert panel.ui.segmentEditor.segmentationNode() is other
    assert written.GetSegmentation().GetNumberOfSegments() == 1


def test_the_first_result_is_undone_by_the_editors_key(panel, phantom) -> None:
    """There was no segmentation before it."""
    segment(panel, add_volume(phantom.image))
    node = panel.parameters.segmentation
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    window = standin.unwrap(slicer.util.mainWindow())
    (key,) = [shortcut for shortcut in window.findChildren(QtGui.QShortcut) if shortcut.key().toString() == "Ctrl+Z"]
    key.activated.emit()
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_a_new_segmentation_of_another_volume_is_not_shown(panel, phantom) -> None:
    second, first = add_volume(phantom.image), add_volume(phantom.image)
    start(panel, first)
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    standin.pump(lambda: idle(panel), 60)
    assert "Found" in panel.ui.resultLabel.text
    assert panel.parameters.segmentation is None
    assert panel.ui.segmentEditor.segmentationNode() is None


def click(volume, row: int, column: int) -> None:
    """Place a point inside, at a pixel of slice 1."""
    place = SceneSlices(volume).toWorld(1, column + 0.5, row + 0.5)
    markups.pointList(volume, markups.POSITIVE).AddControlPointWorld(place)


def test_a_click_corrects_the_segment_that_was_chosen_at_the_click(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node = outlined(panel, volume, "A", "B")
    ids = list(node.GetSegmentation().GetSegmentIDs())
    panel.corrections.choose(ids[0])
    panel.ui.insideButton.checked = True
    row, column = np.argwhere(phantom.lesion_mask)[0]
    click(volume, row, column)
    assert panel.busy
    standin.mouse.pick_segment(panel.ui.segmentEditor, ids[1])
    click(volume, row + 1, column)
    standin.pump(lambda: idle(panel) and bool(segmentTags.pointsOf(node, ids[1])), 60)
    assert len(segmentTags.pointsOf(node, ids[0])) == 1
    assert panel.corrections.segment() == ids[1]
    panel.ui.insideButton.checked = False


@pytest.mark.parametrize("painting", [True, False])
def test_a_result_leaves_the_segment_that_is_being_painted_chosen(panel, phantom, painting: bool) -> None:
    volume = add_volume(phantom.image)
    node = outlined(panel, volume, "A")
    (own,) = node.GetSegmentation().GetSegmentIDs()
    panel.corrections.choose(own)
    start(panel, volume)
    panel.ui.segmentEditor.setActiveEffectByName("Paint" if painting else "")
    standin.pump(lambda: idle(panel), 60)
    (found,) = set(node.GetSegmentation().GetSegmentIDs()) - {own}
    assert "Found" in panel.ui.resultLabel.text and mask_on(node, found, volume).any()
    assert panel.corrections.segment() == (own if painting else found)
    panel.ui.segmentEditor.setActiveEffectByName("")


def test_a_click_that_waits_is_dropped_with_a_run_that_is_cancelled(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node = outlined(panel, volume, "A")
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    panel.corrections.choose(identifier)
    panel.ui.insideButton.checked = True
    row, column = np.argwhere(phantom.lesion_mask)[0]
    click(volume, row, column)
    click(volume, row + 1, column)
    panel.ui.cancelButton.click()
    assert idle(panel)
    panel.ui.insideButton.checked = False
    markups.clearPoints(volume)
    segment(panel, volume)
    standin.pump(lambda: True)
    assert idle(panel)
    assert not segmentTags.pointsOf(node, identifier)


def test_a_refused_click_leaves_no_segment(panel, phantom) -> None:
    """A point outside has nothing to refine: there is no mask and no point inside."""
    volume = add_volume(phantom.image)
    node = outlined(panel, volume)
    panel.ui.outsideButton.checked = True
    place = SceneSlices(volume).toWorld(1, 64.5, 64.5)
    markups.pointList(volume, markups.NEGATIVE).AddControlPointWorld(place)
    assert "inside" in panel.ui.correctStatusLabel.text
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    panel.ui.outsideButton.checked = False


def test_a_first_click_is_one_step_of_undo(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node = outlined(panel, volume)
    panel.ui.insideButton.checked = True
    row, column = np.argwhere(phantom.lesion_mask).mean(0).astype(int)
    click(volume, row, column)
    standin.pump(lambda: idle(panel), 60)
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    assert mask_on(node, identifier, volume)[1].any()
    panel.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    panel.ui.insideButton.checked = False


def test_undo_takes_a_lock_back_alone(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    found = mask_on(node, identifier, volume)
    panel.ui.lockSliceButton.click()
    assert panel.ui.lockSliceButton.checked
    panel.ui.undoButton.click()
    assert not panel.ui.lockSliceButton.checked
    assert np.array_equal(mask_on(node, identifier, volume), found)


def test_locks_of_two_planes_hold_together(panel, phantom) -> None:
    """An axial and a coronal slice are locked; a mask that is written along sagittal slices leaves both as they are."""
    volume = add_volume(phantom.image, slices=6)
    node = outlined(panel, volume, "A")
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    protect.setLocked(node, identifier, "axial", {1}, volume)
    protect.setLocked(node, identifier, "coronal", {50}, volume)
    assert protect.locked(node, identifier, "axial", volume) == {1}
    assert protect.locked(node, identifier, "coronal", volume) == {50}
    before = mask_on(node, identifier, volume)
    assert before[1].any()
    slices = SceneSlices(volume, "sagittal")
    everything = {k: np.ones(slices.stack.image_shape, bool) for k in range(len(slices))}
    masks = SliceMasks.of(slices, everything)
    protect.writeUnlocked(node, identifier, masks)
    protect.recordWritten(node, identifier, slices, masks.checks)
    assert protect.own(node, identifier, slices) == {}, "what a lock has kept is no correction"
    after = mask_on(node, identifier, volume)
    axial, coronal = SceneSlices(volume, "axial"), SceneSlices(volume, "coronal")
    kept = np.zeros_like(before)
    kept[axial.stack.source_index(1)] = True
    kept[:, coronal.stack.source_index(50)] = True
    assert np.array_equal(after[kept], before[kept])
    assert after[~kept].all()


def test_a_correction_is_propagated_in_the_plane_of_the_segment(panel, phantom) -> None:
    """The Red view is axial; the segment was written along coronal slices and one of these was corrected."""
    volume = add_volume(phantom.image, slices=20)
    node = outlined(panel, volume, "A")
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    slices = SceneSlices(volume, "coronal")
    masks = SliceMasks.of(slices, {k: segments.readSlice(node, identifier, slices, k) for k in range(60, 100)})
    protect.recordWritten(node, identifier, slices, masks.checks)
    corrected = np.zeros(slices.stack.image_shape, bool)
    corrected[5:15, 40:80] = True
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {80: corrected}))
    panel.corrections.choose(identifier)
    panel.ui.reachBox.value = 2
    panel.ui.propagateButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert "from one corrected slice" in panel.ui.resultLabel.text, panel.ui.resultLabel.text


@pytest.mark.parametrize("view", ["Green", "Red"])
def test_a_click_is_taken_in_the_view_under_the_mouse(panel, phantom, view: str) -> None:
    """On the line where the axial and the coronal view cross, the point lies in both: 2 is the slice, 63 the row."""
    volume = add_volume(phantom.image, slices=6, at=2)
    node = outlined(panel, volume, "A")
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    panel.corrections.choose(identifier)
    before = mask_on(node, identifier, volume)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLCrosshairNode"
    )
    place = SceneSlices(volume).toWorld(2, 50.5, 63.5)
    green = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeGreen")
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeGreen").SetBackgroundVolumeID(volume.GetID())
    green.JumpSliceByCentering(*place)
    show(volume, 2)
    crosshair.SetCursorPositionXYZ([0.0, 0.0, 0.0], slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}"))
    panel.ui.insideButton.checked = True
    markups.pointList(volume, markups.POSITIVE).AddControlPointWorld(place)
    standin.pump(lambda: idle(panel), 60)
    panel.ui.insideButton.checked = False
    slices, rows, _columns = np.nonzero(mask_on(node, identifier, volume) != before)
    assert set(rows if view == "Green" else slices) == {63 if view == "Green" else 2}


def test_after_a_prompt_the_keys_are_not_those_of_the_text(panel, phantom) -> None:
    """With the focus in the text, Ctrl+Z would undo typing instead of the mask."""
    volume, text = add_volume(phantom.image), standin.unwrap(panel.ui.promptEdit)
    text.window().show()
    text.activateWindow()
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    text.setFocus()
    standin.pump(text.hasFocus)
    segment(panel, volume)
    assert not text.hasFocus()


def test_the_foreground_of_the_user_comes_back(panel, phantom) -> None:
    volume, pet = add_volume(phantom.image), add_volume(phantom.image)
    show(volume, 1)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    composite.SetForegroundVolumeID(pet.GetID())
    composite.SetForegroundOpacity(0.2)
    segment(panel, volume)
    assert composite.GetForegroundVolumeID() == overlay.mapOf(volume, overlay.SALIENCY).GetID()
    panel.ui.saliencyCheckBox.checked = False
    assert composite.GetForegroundVolumeID() == pet.GetID()
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)
    panel.ui.saliencyCheckBox.checked = True
    composite.SetForegroundVolumeID(pet.GetID())
    panel.ui.promptEdit.setPlainText("something else")
    assert composite.GetForegroundVolumeID() == pet.GetID()


def test_a_change_that_fails_is_not_undone_with_the_one_before(panel, phantom) -> None:
    node = outlined(panel, add_volume(phantom.image))
    panel.operations.addSegment(node, "A")

    def fail() -> None:
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        panel.session.change(node, fail)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["A"]
    panel.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_why_a_run_ended_is_said_though_something_else_is_missing_then(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    start(panel, volume)
    slicer.mrmlScene.RemoveNode(volume)
    standin.pump(lambda: idle(panel), 60)
    assert "'head' was removed during the run" in panel.ui.statusLabel.text
    panel.ui.promptEdit.setPlainText("")
    panel.ui.inputVolumeSelector.setCurrentNode(add_volume(phantom.image))
    assert panel.ui.statusLabel.text.startswith("Type what to segment first")


def test_what_is_typed_during_a_run_of_a_script_is_no_longer_asked_for(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert panel.ui.statusLabel.text.startswith("Type what to segment first")
    panel.operations.segment.start(volume, [PROMPT])
    panel.ui.promptEdit.setPlainText(PROMPT)
    standin.pump(lambda: idle(panel), 60)
    assert panel.ui.statusLabel.text == "" and panel.ui.segmentButton.enabled


def test_nothing_to_undo_is_said(panel, phantom) -> None:
    outlined(panel, add_volume(phantom.image))
    panel.ui.undoButton.click()
    assert "nothing to undo" in panel.ui.correctStatusLabel.text


def test_a_prompt_in_other_letters_is_the_same_segment(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    for prompt in ("brain|tumor", "Brain|Tumor", "brain  tumor"):
        segment(panel, volume, prompt)
        assert "Found" in panel.ui.resultLabel.text
        assert panel.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_another_volume_is_shown_and_brings_its_own_segmentation(panel, phantom) -> None:
    first, second = add_volume(phantom.image), add_volume(phantom.image)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    own = outlined(panel, first, "A")
    panel.ui.inputVolumeSelector.setCurrentNode(second)
    assert composite.GetBackgroundVolumeID() == second.GetID()
    assert panel.parameters.segmentation is None
    panel.ui.inputVolumeSelector.setCurrentNode(first)
    assert composite.GetBackgroundVolumeID() == first.GetID()
    assert panel.parameters.segmentation is own


def test_a_view_that_shows_another_volume_is_not_segmented(panel, phantom) -> None:
    first, second = add_volume(phantom.image), add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(first)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    composite.SetBackgroundVolumeID(second.GetID())
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.segmentButton.click()
    assert idle(panel)
    assert f"'{second.GetName()}', not '{first.GetName()}'" in panel.ui.statusLabel.text


def test_a_locked_segment_is_said_to_stay(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    panel.ui.lockSegmentButton.click()
    segment(panel, volume)
    assert "locked" in panel.ui.resultLabel.text
    assert np.array_equal(mask_on(node, identifier, volume), before)


def test_the_slices_of_another_grid_are_counted_and_named_at_once(panel, phantom) -> None:
    ui, volume = panel.ui, add_volume(phantom.image, 3)
    outlined(panel, volume, "one")
    ui.extentBox.setCurrentIndex(1)  # a range
    assert (ui.sliceCountLabel.text, ui.lockSliceButton.text) == ("of 0 to 2", "Lock axial 1")
    volume.SetOrigin(*np.subtract(volume.GetOrigin(), (0, 0, 4)))
    assert (ui.sliceCountLabel.text, ui.lockSliceButton.text) == ("of 0 to 2", "Lock axial 2")
    slicer.util.updateVolumeFromArray(volume, np.zeros((7, 128, 128), np.int16))
    assert ui.sliceCountLabel.text == "of 0 to 6"
    transform, turned = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode"), np.eye(4)[[0, 2, 1, 3]]
    volume.SetAndObserveTransformNodeID(transform.GetID())
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    assert ui.sliceCountLabel.text == "of 0 to 127"


def test_a_volume_that_gets_the_grid_of_the_one_before_is_counted(panel, phantom, capfd) -> None:
    ui, three, five = panel.ui, add_volume(phantom.image, 3), add_volume(phantom.image, 5)
    ui.extentBox.setCurrentIndex(1)  # a range
    ui.inputVolumeSelector.setCurrentNode(three)
    three.SetSpacing(1, 1, 3)
    ui.inputVolumeSelector.setCurrentNode(five)
    assert ui.sliceCountLabel.text == "of 0 to 4"
    five.SetSpacing(1, 1, 3)
    five.SetAndObserveImageData(three.GetImageData())
    assert ui.sliceCountLabel.text == "of 0 to 2"
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    capfd.readouterr()
    five.SetAndObserveTransformNodeID(warp.GetID())
    assert "non-linear transform 'warp'" in ui.sliceCountLabel.text
    assert "linear" not in capfd.readouterr().err, "Slicer's log of errors stays empty"
