"""Something that no prompt finds is marked by a point or a box, without a segmentation to begin with."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import standin
from heads import add_volume, idle, segment, show
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import markups
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.evaluation.metrics import dsc


def begin(panel, phantom):
    """A volume, and a prompt that was typed but not segmented."""
    volume = add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    assert panel.parameters.segmentation is None
    return volume


def check(panel, volume, phantom, least: float) -> None:
    """Check that there is one segment, with the prompt's name, chosen, on the marked slice."""
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    (only,) = node.GetSegmentation().GetSegmentIDs()
    assert identifier == only and node.GetSegmentation().GetSegment(only).GetName() == PROMPT
    mask = mask_on(node, identifier, volume)
    assert dsc(mask[1], phantom.lesion_mask) > least and not mask[[0, 2]].any()


def test_a_point_makes_a_segment_where_there_is_none(panel, phantom) -> None:
    volume = begin(panel, phantom)
    panel.ui.insideButton.checked = True
    points = markups.pointList(volume, markups.POSITIVE)
    slices = SceneSlices(volume)
    rows, columns = np.nonzero(phantom.lesion_mask)
    middle = slices.toWorld(1, columns.mean() + 0.5, rows.mean() + 0.5)
    points.AddControlPointWorld(middle)
    points.AddControlPointWorld(slices.toWorld(1, columns.mean() + 1.5, rows.mean() + 0.5))  # while SAM works
    standin.pump(lambda: idle(panel) and panel.corrections.segment() is not None, 60)
    standin.pump(lambda: idle(panel), 60)
    panel.ui.insideButton.checked = False
    check(panel, volume, phantom, 0.3)


def test_a_box_makes_a_segment_where_there_is_none(panel, phantom) -> None:
    volume = begin(panel, phantom)
    rows, columns = np.nonzero(phantom.lesion_mask)
    markups.addBox(SceneSlices(volume), 1, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    panel.ui.segmentBoxesButton.click()
    standin.pump(lambda: idle(panel), 60)
    check(panel, volume, phantom, 0.7)
    show(volume, 1)
    segment(panel, volume)
    assert "Found" in panel.ui.resultLabel.text, "the same structure is the same segment"
    check(panel, volume, phantom, 0.6)


def place(panel, volume, k: int, x: float, y: float):
    """Place a point inside. The stand-in's views have no mouse, so it is like a click in a 3D view."""
    panel.ui.insideButton.checked = True
    node = markups.pointList(volume, markups.POSITIVE)
    node.AddControlPointWorld(SceneSlices(volume).toWorld(k, x, y))
    standin.pump(lambda: idle(panel), 60)
    panel.ui.insideButton.checked = False
    return node


def test_a_point_on_no_shown_slice_corrects_the_slice_that_it_is_on(panel, phantom) -> None:
    volume = add_volume(np.zeros_like(phantom.image))
    slicer.util.arrayFromVolume(volume)[:] = phantom.image
    slicer.util.arrayFromVolumeModified(volume)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    rows, columns = np.nonzero(phantom.lesion_mask)
    points = place(panel, volume, 2, columns.mean() + 0.5, rows.mean() + 0.5)
    after = mask_on(node, identifier, volume)
    assert before[1].any() and (after[[0, 1]] == before[[0, 1]]).all() and after[2].any()
    assert points.GetNumberOfControlPoints() == 1


def test_a_point_on_no_slice_is_refused_and_removed(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    before = mask_on(node, identifier, volume)
    points = place(panel, volume, 9, 60, 60)
    standin.pump(lambda: points.GetNumberOfControlPoints() == 0, 10)
    assert "'head' has no axial slice 9" in panel.ui.correctStatusLabel.text
    other = add_volume(phantom.image)  # which the chosen view shows now
    other.SetName("other")
    points = place(panel, volume, 2, 60, 60)
    standin.pump(lambda: points.GetNumberOfControlPoints() == 0, 10)
    assert "The view 'Red' shows 'other', not 'head'" in panel.ui.correctStatusLabel.text
    assert (mask_on(node, identifier, volume) == before).all()


def test_a_run_that_is_cancelled_leaves_no_segmentation(panel, phantom) -> None:
    volume = begin(panel, phantom)
    markups.addBox(SceneSlices(volume), 1, (30, 30, 90, 90))
    panel.ui.segmentBoxesButton.click()
    panel.ui.cancelButton.click()
    assert idle(panel) and panel.parameters.segmentation is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_nothing_found_is_a_result_that_says_what_to_try(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    show(volume, 0)
    segment(panel, volume)
    said = panel.ui.resultLabel.text
    assert panel.parameters.segmentation is None
    assert said.startswith(f"Nothing found for '{PROMPT}'") and "That is a result" in said
    assert "another slice" in said and "'Add box'" in said and "'Found from presence' at 0 (Settings, now 0.50)" in said
    for button in (panel.ui.insideButton, panel.ui.addBoxButton, panel.ui.segmentBoxesButton):
        assert button.enabled, "what is recommended can be done"
    panel.ui.presenceBox.value = 0
    segment(panel, volume)
    assert "Found from presence" not in panel.ui.resultLabel.text


def test_a_result_is_explained_in_plain_words_and_goes_with_undo(panel, phantom) -> None:
    segment(panel, add_volume(phantom.image))
    lines = panel.ui.resultLabel.text.splitlines()
    assert lines[0].startswith(f"Found '{PROMPT}': score")
    assert lines[1].startswith("In words: the image fits the prompt far better") and "SAM is" in lines[1]
    assert lines[-1].endswith("Models: demo.")
    panel.ui.undoButton.click()
    assert panel.ui.resultLabel.text == "No result yet." and not panel.ui.notesLabel.isVisibleTo(panel.content)
