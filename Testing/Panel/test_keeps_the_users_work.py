"""A repeated prompt keeps what it must not change, and says what it has changed."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from effects import apply, edit, paint
from heads import add_volume, idle, segment
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import protect


@pytest.fixture
def found(panel, phantom):
    """A volume with a segment of the prompt, corrected by hand: volume, segmentation, id, mask."""
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    mask = mask_on(node, identifier, volume)
    mask[1, 5:15, 5:15] = True
    paint(node, identifier, volume, mask)
    return volume, node, identifier, mask


@pytest.mark.parametrize("extent", ["slice", "volume"])
def test_where_nothing_is_found_the_segment_stays(panel, found, extent: str) -> None:
    volume, node, identifier, mask = found
    panel.parameters.method.presence = 1.0
    panel.parameters.extent = type(panel.parameters.extent)(extent)
    segment(panel, volume)
    assert "Nothing found" in panel.ui.resultLabel.text
    assert f"The segment '{PROMPT}' stays as it was." in panel.ui.resultLabel.text
    assert (mask_on(node, identifier, volume) == mask).all()


def test_slices_corrected_by_hand_are_said_to_be_replaced(panel, found) -> None:
    volume, node, identifier, mask = found
    segment(panel, volume)
    assert "One slice that you had corrected was replaced: Undo brings it back" in panel.ui.resultLabel.text
    assert (mask_on(node, identifier, volume) != mask).any()
    panel.ui.undoButton.click()
    assert (mask_on(node, identifier, volume) == mask).all()
    panel.corrections.undo()
    panel.corrections.undo()
    segment(panel, volume)
    segment(panel, volume)
    assert "corrected" not in panel.ui.resultLabel.text


def test_a_completed_segment_stays_and_another_one_is_made(panel, found) -> None:
    volume, node, identifier, mask = found
    logic, own = slicer.vtkSlicerSegmentationsModuleLogic, node.GetSegmentation().GetSegment(identifier)
    own.SetName("GTV final")
    logic.SetSegmentStatus(own, logic.Completed)
    segment(panel, volume)
    assert "The segment 'GTV final' is completed and stays as it was" in panel.ui.resultLabel.text
    assert (mask_on(node, identifier, volume) == mask).all()
    _first, second = node.GetSegmentation().GetSegmentIDs()
    assert node.GetSegmentation().GetSegment(second).GetName() == PROMPT
    segment(panel, volume)
    assert node.GetSegmentation().GetNumberOfSegments() == 2, "the new one is the prompt's now"


def test_locked_slices_are_no_matter_of_the_masking_settings(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    before = np.zeros((3, *phantom.image.shape), bool)
    before[:, 5:9, 5:9] = True
    paint(node, "Segment_1", volume, before)
    protect.setLocked(node, "Segment_1", "axial", {0, 1, 2}, volume)
    assert "The slices that show it are locked: the segment 'Segment_1' stays as it was." in apply(
        effect, where="volume axial"
    )
    assert (mask_on(node, "Segment_1", volume) == before).all()
    protect.setLocked(node, "Segment_1", "axial", {0}, volume)
    assert "One slice is locked and stays as it was." in apply(effect, where="volume axial")
    assert (mask_on(node, "Segment_1", volume)[0] == before[0]).all()
    protect.setLocked(node, "Segment_1", "axial", {0, 2}, volume)
    assert "2 slices are locked and stay as they were." in apply(effect, where="volume axial")


def test_what_masking_left_out_is_no_correction(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    apply(effect)
    values = slicer.util.arrayFromVolume(volume)[mask_on(node, "Segment_1", volume)]
    paint(node, "Segment_1", volume, np.zeros((3, *phantom.image.shape), bool))
    settings = effect.scriptedEffect.parameterSetNode()
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(float(np.median(values)), float(values.max()))
    apply(effect)
    assert 0 < mask_on(node, "Segment_1", volume).sum() < len(values)
    assert "corrected" not in apply(effect), "nobody has touched it since"


def test_the_effect_says_what_it_replaced(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    node, effect = edit(editor, volume)
    paint(node, "Segment_1", volume, np.ones((3, *phantom.image.shape), bool))  # before any prompt
    assert "One slice that you had corrected was replaced" in apply(effect)
    assert "corrected" not in apply(effect)
    mask = mask_on(node, "Segment_1", volume)
    mask[1, 5:15, 5:15] = True
    paint(node, "Segment_1", volume, mask)
    assert "One slice that you had corrected was replaced" in apply(effect)


def test_a_hidden_result_is_said(panel, found) -> None:
    volume, node, identifier, _mask = found
    display = node.GetDisplayNode()
    display.SetSegmentVisibility(identifier, False)
    segment(panel, volume)
    assert f"The segment '{PROMPT}' is hidden" in panel.ui.notesLabel.text
    panel.ui.refineButton.click()
    standin.pump(lambda: idle(panel), 60)
    assert f"The segment '{PROMPT}' is hidden" in panel.ui.notesLabel.text
    display.SetSegmentVisibility(identifier, True)
    display.SetVisibility(False)
    segment(panel, volume)
    assert f"The segmentation '{node.GetName()}' is hidden" in panel.ui.notesLabel.text
    assert not display.GetVisibility(), "what is shown is the user's"
    display.SetVisibility(True)
    segment(panel, volume)
    assert "hidden" not in panel.ui.notesLabel.text
