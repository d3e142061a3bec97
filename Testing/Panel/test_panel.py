"""The panel as a user drives it: real module, real .ui, real MRML, real worker; the widgets are the stand-in's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
import standin
from heads import add_volume, idle, segment, show
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMPanel.parameters import CoarseMethod, SamPromptKind, VoteMethod, engineSettings
from MedCLIPSAMScene import markups, overlay, protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.volumes import make_volume

SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-output" / "panel"


def test_the_button_says_why_it_is_disabled(panel, phantom) -> None:
    ui = panel.ui
    assert not ui.segmentButton.enabled and "input volume" in ui.segmentButton.toolTip
    assert "input volume" in ui.statusLabel.text
    ui.inputVolumeSelector.setCurrentNode(add_volume(phantom.image))
    assert "Type what to segment" in ui.statusLabel.text
    ui.promptEdit.setPlainText(PROMPT)
    assert ui.segmentButton.enabled and ui.statusLabel.text == ""


def test_a_prompt_becomes_a_segment_with_score_overlay_and_boxes(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node = panel.parameters.segmentation
    assert node is panel.ui.segmentationSelector.currentNode() and node.GetName() == "head segmentation"
    identifier = panel.corrections.segment()
    assert node.GetSegmentation().GetSegment(identifier).GetName() == PROMPT
    assert dsc(mask_on(node, identifier, volume)[1], phantom.lesion_mask) > 0.6
    assert "presence" in panel.ui.resultLabel.text and "on CPU" in panel.ui.resultLabel.text
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    saliency = overlay.mapOf(volume, overlay.SALIENCY)
    assert composite.GetForegroundVolumeID() == saliency.GetID()
    panel.ui.saliencySlider.value = 60
    assert saliency.GetDisplayNode().GetLowerThreshold() == 60
    panel.ui.saliencyCheckBox.checked = False
    assert composite.GetForegroundVolumeID() is None
    panel.ui.saliencyCheckBox.checked = True
    assert len(markups.markupsOf(volume, markups.BOX)) >= 1
    panel.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == 0


def test_settings_that_were_not_changed_are_left_to_the_model(panel) -> None:
    method = panel.parameters.method
    assert engineSettings(method) == {}
    for name in ("presence", "coarse", "coarseThreshold", "samPrompts", "vote", "seed"):
        assert "default, a model that has its own setting uses that" in getattr(panel.ui, f"{name}BoxLabel").toolTip
    method.coarse, method.seed, method.presence = CoarseMethod.THRESHOLD, 7, 0.0
    assert engineSettings(method) == {
        "presence_threshold": 0.0,
        "coarse": {"method": "threshold"},
        "prompts": {"seed": 7},
        "saliency": {"seed": 7},
    }
    method.samPrompts, method.vote = SamPromptKind.POINTS, VoteMethod.MEAN
    assert engineSettings(method)["prompts"] == {"kind": "points", "seed": 7} and "vote" not in engineSettings(method)


def test_a_vote_shows_its_uncertainty_in_place_of_the_saliency(panel, phantom) -> None:
    ui, volume = panel.ui, add_volume(phantom.image)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert "vote" not in engineSettings(panel.parameters.method)
    ui.voteBox.setCurrentIndex(1)
    assert engineSettings(panel.parameters.method)["vote"] == {"method": "mean"}
    segment(panel, volume)
    vote, saliency = overlay.mapOf(volume, overlay.VOTE), overlay.mapOf(volume, overlay.SALIENCY)
    assert slicer.util.arrayFromVolume(vote).any() and composite.GetForegroundVolumeID() == saliency.GetID()
    assert ui.uncertaintyCheckBox.enabled and "key slices" in ui.uncertaintyCheckBox.toolTip
    ui.uncertaintyCheckBox.checked = True
    assert composite.GetForegroundVolumeID() == vote.GetID()
    assert not ui.saliencyCheckBox.enabled and "shown instead" in ui.saliencyCheckBox.toolTip
    ui.uncertaintyCheckBox.checked = False
    assert composite.GetForegroundVolumeID() == saliency.GetID() and ui.saliencyCheckBox.enabled
    ui.saliencyCheckBox.checked = False
    for checked, seen in ((True, vote.GetID()), (False, None)):
        ui.uncertaintyCheckBox.checked = checked
        assert composite.GetForegroundVolumeID() == seen
    ui.saliencyCheckBox.checked = ui.uncertaintyCheckBox.checked = True
    ui.samPromptsBox.setCurrentIndex(1)
    assert not ui.voteBox.enabled and "asked once" in ui.voteBox.toolTip
    segment(panel, volume)
    assert overlay.mapOf(volume, overlay.VOTE) is None and composite.GetForegroundVolumeID() == saliency.GetID()
    assert not ui.uncertaintyCheckBox.enabled and "choose a vote" in ui.uncertaintyCheckBox.toolTip


def test_a_box_may_be_dragged_and_outlined_again(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    slices = SceneSlices(volume)
    rows, columns = np.nonzero(phantom.lesion_mask)
    panel.ui.removeBoxesButton.click()
    assert not markups.markupsOf(volume, markups.BOX)
    panel.ui.addBoxButton.click()
    (box,) = markups.markupsOf(volume, markups.BOX)
    center = slices.toWorld(1, (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2)
    box.SetCenterWorld(center)
    box.SetSize(float(np.ptp(columns)) + 1, float(np.ptp(rows)) + 1, 4)
    panel.ui.segmentBoxesButton.click()
    standin.pump(lambda: idle(panel), 60)
    mask = mask_on(panel.parameters.segmentation, panel.corrections.segment(), volume)[1]
    assert dsc(mask, phantom.lesion_mask) > 0.75


def test_a_point_in_a_view_corrects_the_segment_and_undo_takes_it_back(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place
    rows, columns = np.nonzero(phantom.lesion_mask & ~before[1])
    at = len(rows) // 2
    points.AddControlPointWorld(slices.toWorld(1, columns[at] + 0.5, rows[at] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    after = mask_on(node, identifier, volume)
    assert after[1, rows[at], columns[at]]
    assert "Refined" in panel.ui.resultLabel.text
    points.AddControlPointWorld(slices.toWorld(1, columns[0] + 0.5, rows[0] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    assert len(segmentTags.pointsOf(node, identifier)) == points.GetNumberOfControlPoints() == 2
    panel.ui.segmentEditor.undo()  # what Ctrl+Z does, beside the panel's own button
    assert np.array_equal(mask_on(node, identifier, volume), after)
    assert points.GetNumberOfControlPoints() == 1
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume), before)
    assert points.GetNumberOfControlPoints() == 0
    panel.ui.insideButton.checked = False
    assert interaction.GetCurrentInteractionMode() != slicer.vtkMRMLInteractionNode.Place


def test_clicks_while_sam_works_are_taken_up_after_it(panel, phantom) -> None:
    """Two points at once: the second is not lost, and each is a step of undo."""
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    rows, columns = np.nonzero(phantom.lesion_mask)
    for at in (len(rows) // 3, len(rows) // 2):
        points.AddControlPointWorld(slices.toWorld(1, columns[at] + 0.5, rows[at] + 0.5))
    standin.pump(lambda: len(segmentTags.pointsOf(node, identifier)) == 2 and idle(panel), 60)
    panel.ui.undoButton.click()
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume), before)
    assert points.GetNumberOfControlPoints() == 0
    panel.ui.insideButton.checked = False


def test_points_correct_the_segment_they_were_placed_for(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, first = panel.parameters.segmentation, panel.corrections.segment()
    slices = SceneSlices(volume)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    rows, columns = np.nonzero(phantom.lesion_mask)
    points.AddControlPointWorld(slices.toWorld(1, columns[0] + 0.5, rows[0] + 0.5))
    standin.pump(lambda: idle(panel), 60)
    corrected = mask_on(node, first, volume)
    second = panel.operations.addSegment(node, "ventricles")
    panel.corrections.choose(second)
    inside = slices.toWorld(1, 64, 64)
    points.AddControlPointWorld(inside)
    standin.pump(lambda: idle(panel), 60)
    assert segmentTags.pointsOf(node, second) == [markups.mark(1, inside)]
    assert points.GetNumberOfControlPoints() == 1
    assert np.array_equal(mask_on(node, first, volume), corrected)
    panel.ui.insideButton.checked = False


def test_points_of_a_scene_that_was_loaded_are_not_for_another_segment(panel, phantom) -> None:
    volume, node = add_volume(phantom.image), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    slices, points = SceneSlices(volume), markups.pointList(volume, markups.POSITIVE)
    first, second = (segments.addSegment(node, name) for name in ("tumor", "ventricles"))
    earlier, inside = slices.toWorld(1, 30, 40), slices.toWorld(1, 64, 64)
    points.AddControlPointWorld(earlier)
    segmentTags.setTags(node, first, {segmentTags.POINTS_TAG: markups.mark(1, earlier)})
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(second)
    panel.ui.insideButton.checked = True
    points.AddControlPointWorld(inside)
    standin.pump(lambda: idle(panel), 60)
    panel.ui.insideButton.checked = False
    assert segmentTags.pointsOf(node, second) == [markups.mark(1, inside)]
    assert points.GetNumberOfControlPoints() == 1


def test_a_painted_mask_is_refined(panel, phantom) -> None:
    """Paint half of the tumour as the Paint effect does, then Refine with SAM."""
    volume = add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumour")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(identifier)
    painted = phantom.lesion_mask.copy()
    painted[: round(np.argwhere(painted)[:, 0].mean())] = False
    segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(volume), {1: painted}))
    panel.ui.refineButton.click()
    standin.pump(lambda: idle(panel), 60)
    refined = mask_on(node, identifier, volume)[1]
    assert refined.any() and not np.array_equal(refined, painted)
    panel.ui.undoButton.click()
    assert np.array_equal(mask_on(node, identifier, volume)[1], painted)


def test_a_corrected_slice_is_propagated_and_a_locked_one_stays(panel) -> None:
    """One slice is outlined by hand, its neighbors follow; another one is locked and stays in the next run."""
    phantom = make_volume("validation", 4, "MR", 1)
    truth = phantom.lesion_mask
    key = int(truth.sum((1, 2)).argmax())
    volume = add_volume(phantom.slices[key], slices=len(truth), at=key)
    slicer.util.updateVolumeFromArray(volume, phantom.slices.astype(np.int16))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumour")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(identifier)
    slices = SceneSlices(volume)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {key: truth[key]}))
    panel.ui.propagateButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert "propagated" in panel.ui.resultLabel.text
    followed = mask_on(node, identifier, volume)
    assert dsc(followed, truth) > 0.7 and np.array_equal(followed[key], truth[key])
    show(volume, key + 1)
    panel.ui.lockSliceButton.click()
    assert panel.ui.lockSliceButton.checked and set(protect.own(node, identifier, slices)) == {key, key + 1}
    panel.ui.reachBox.value = 1
    assert panel.ui.reachBox.suffix == " slice"
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {key: truth[key] & (np.arange(128) % 2 == 0)}))
    panel.ui.propagateButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert np.array_equal(mask_on(node, identifier, volume)[key + 1], followed[key + 1])
    panel.ui.lockSegmentButton.click()
    panel.ui.propagateButton.click()
    assert idle(panel) and "locked" in panel.ui.statusLabel.text
    panel.ui.lockSegmentButton.click()
    assert not panel.ui.lockSliceButton.checked


def test_cancel_and_close_leave_no_half_result(panel, phantom) -> None:
    volume = add_volume(phantom.image, slices=60)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.extentBox.setCurrentIndex(2)
    panel.ui.segmentButton.click()
    standin.pump(lambda: panel.ui.progressBar.value > 30, 60)
    assert "slice" in panel.ui.statusLabel.text
    panel.ui.cancelButton.click()
    assert idle(panel) and "Cancelled" in panel.ui.statusLabel.text
    panel.ui.segmentButton.click()
    standin.pump(lambda: panel.ui.progressBar.value > 30, 60)
    slicer.mrmlScene.Clear(0)
    assert idle(panel)
    standin.pump(lambda: True)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert panel.parameters.inputVolume is None and panel.parameters.prompts == PROMPT
    assert panel.ui.promptEdit.plainText == PROMPT
    segment(panel, add_volume(phantom.image, at=1))
    assert panel.parameters.segmentation is not None


def test_choices_survive_saving_and_loading_the_scene(panel, phantom, tmp_path) -> None:
    volume = add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText("brain tumor\nbrain")
    panel.ui.negativeEdit.text = "skull"
    panel.ui.extentBox.setCurrentIndex(1)
    panel.ui.lastSliceBox.value = 2
    panel.ui.presenceBox.value = 0.25
    panel.ui.coarseBox.setCurrentIndex(2)
    path = tmp_path / "scene.mrml"
    slicer.mrmlScene.SetURL(str(path))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    for name in ("prompts", "negative", "extent", "method"):
        setattr(panel.parameters, name, panel.parameters.default(name).value)
    slicer.mrmlScene.Connect()
    assert panel.ui.promptEdit.plainText == "brain tumor\nbrain" and panel.ui.negativeEdit.text == "skull"
    assert panel.ui.extentBox.currentIndex == 1 and panel.ui.lastSliceBox.value == 2
    settings = engineSettings(panel.parameters.method)
    assert settings["presence_threshold"] == 0.25 and settings["coarse"]["method"] == "threshold"
    panel.ui.defaultSettingsButton.click()
    assert panel.ui.presenceBox.value == 0.5


def test_presets_and_history_fill_the_prompt(panel, phantom) -> None:
    box = panel.ui.presetBox
    for index in range(1, box.count):
        box.setCurrentIndex(index)
        standin.unwrap(box).activated.emit(index)
    lines = panel.ui.promptEdit.plainText.splitlines()
    assert "brain tumor" in lines and "breast tumor" in lines and len(lines) == len(set(lines)) >= 3
    segment(panel, add_volume(phantom.image), "brain tumor\nventricles")
    panel.ui.promptEdit.setPlainText("")
    standin.unwrap(panel.ui.historyBox).activated.emit(1)
    assert panel.ui.promptEdit.plainText == "brain tumor\nventricles"


def test_a_wrong_prompt_is_explained(panel, phantom) -> None:
    segment(panel, add_volume(phantom.image), "xylophone")
    assert "knows no word" in panel.ui.statusLabel.text
    assert panel.ui.segmentButton.enabled


def test_a_prompt_that_says_what_is_absent_finds_nothing_and_says_why(panel, phantom) -> None:
    segment(panel, add_volume(phantom.image), f"not a {PROMPT}")
    assert f"Nothing found for 'not a {PROMPT}': it says what is not there" in panel.ui.resultLabel.text
