"""Boxes belong to the slice, the plane and the prompt that they were drawn for."""

from __future__ import annotations

import numpy as np
import standin
from heads import add_volume, idle, outlined, segment, show
from helpers.scene import PROMPT, mask_on
from MedCLIPSAMScene import markups
from MedCLIPSAMScene.sliceGeometry import SceneSlices


def test_only_the_boxes_of_the_slice_shown_are_segmented(panel, phantom) -> None:
    volume = add_volume(phantom.image, slices=6, at=2)
    node = outlined(panel, volume, "A")
    (identifier,) = node.GetSegmentation().GetSegmentIDs()
    slices = SceneSlices(volume)
    before = mask_on(node, identifier, volume)
    markups.addBox(slices, 1, (30, 30, 90, 90))
    show(volume, 2)
    panel.ui.segmentBoxesButton.click()
    assert "no box on the slice" in panel.ui.correctStatusLabel.text
    rows, columns = np.nonzero(phantom.lesion_mask)
    markups.addBox(slices, 2, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    panel.ui.segmentBoxesButton.click()
    standin.pump(lambda: idle(panel), 60)
    after = mask_on(node, identifier, volume)
    assert np.array_equal(after[1], before[1])
    assert after[2].any()


def test_boxes_of_one_plane_are_none_of_another(panel, phantom) -> None:
    volume = add_volume(phantom.image, slices=6, at=2)
    markups.addBox(SceneSlices(volume), 2, (30, 30, 90, 90))
    assert list(markups.boxes(SceneSlices(volume, "axial"))) == [2]
    assert markups.boxes(SceneSlices(volume, "sagittal")) == {}


def test_the_boxes_of_one_prompt_are_not_for_another_segment(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, found = panel.parameters.segmentation, panel.corrections.segment()
    other = panel.operations.addSegment(node, "other")
    panel.corrections.choose(other)
    panel.ui.segmentBoxesButton.click()
    assert idle(panel)
    assert f"those of '{PROMPT}'" in panel.ui.correctStatusLabel.text
    panel.corrections.choose(found)
    panel.ui.segmentBoxesButton.click()
    assert panel.busy
    standin.pump(lambda: idle(panel), 60)
    node.GetSegmentation().RemoveSegment(found)  # so does Undo
    panel.corrections.choose(other)
    panel.ui.segmentBoxesButton.click()
    assert panel.busy, panel.ui.correctStatusLabel.text
    standin.pump(lambda: idle(panel), 60)
