"""Boxes and points in the scene, and what SAM makes of them."""

from __future__ import annotations

import numpy as np
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial, mask_on, oblique
from MedCLIPSAMScene import markups, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.evaluation.metrics import dsc


def test_boxes_go_to_the_scene_and_back(operations, phantom) -> None:
    volume = add_volume(phantom.image, oblique())
    slices = SceneSlices(volume)
    # Box x 10..30, y 20..60 of slice 1: its middle (20, 40) is voxel (19.5, 39.5, 1).
    (node,) = markups.showBoxes(slices, 1, np.array([[10, 20, 30, 60]]))
    center = (oblique() @ (19.5, 39.5, 1, 1))[:3]
    np.testing.assert_allclose(node.GetCenterWorld(), center, atol=1e-6)
    np.testing.assert_allclose(node.GetSize(), (20 * 0.9, 40 * 0.9, 5.0), atol=1e-6)
    np.testing.assert_allclose(markups.boxes(slices)[1], [[10, 20, 30, 60]], atol=1e-4)
    node.SetCenterWorld((oblique() @ (29.5, 39.5, 2, 1))[:3])
    np.testing.assert_allclose(markups.boxes(slices)[2], [[20, 20, 40, 60]], atol=1e-4)


def test_segment_again_from_a_box(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    slices = SceneSlices(volume)
    rows, columns = np.nonzero(phantom.lesion_mask)
    markups.showBoxes(slices, 1, np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]))
    ended = []
    operations.refine.startFromBoxes(
        result.segmentation,
        result.prompts[0].segmentId,
        slices,
        markups.boxes(slices),
        lambda *ended_with: ended.append(ended_with),
    )
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][1] is None
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)
    assert dsc(mask[1], phantom.lesion_mask) > 0.75


def test_points_correct_a_painted_mask_and_undo_brings_it_back(operations, phantom) -> None:
    """A mask painted by hand, half of the tumour and some of the brain, is refined by two points."""
    volume = add_volume(phantom.image, axial())
    slices = SceneSlices(volume)
    segmentation = segments.newSegmentation(volume)
    identifier = segments.addSegment(segmentation, "tumour by hand")
    middle = round(np.argwhere(phantom.lesion_mask)[:, 1].mean())
    painted = phantom.lesion_mask.copy()
    painted[:, middle:] = False
    segments.writeSlices(segmentation, identifier, SliceMasks.of(slices, {1: painted}))
    rows, columns = np.nonzero(phantom.lesion_mask & ~painted)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    inside = slices.toWorld(1, columns[nearest] + 0.5, rows[nearest] + 0.5)
    result = operations.refine.run(segmentation, identifier, volume, 1, points=[inside], labels=[1], timeout=TIMEOUT)
    assert result.found
    refined = mask_on(segmentation, identifier, volume)[1]
    assert refined[rows[nearest], columns[nearest]]
    assert dsc(refined, phantom.lesion_mask) > dsc(painted, phantom.lesion_mask) + 0.05
    assert (
        "axial slices 1"
        in segmentTags.tags(segmentation.GetSegmentation().GetSegment(identifier))["MedCLIPSAM.Corrected"]
    )
    assert operations.session.undo(segmentation)
    assert np.array_equal(mask_on(segmentation, identifier, volume)[1], painted)


def test_points_of_the_scene_belong_to_the_slice_they_lie_on(operations, phantom) -> None:
    volume = add_volume(phantom.image, oblique())
    slices = SceneSlices(volume)
    for kind, pixel in ((markups.POSITIVE, (30, 40)), (markups.NEGATIVE, (50, 60))):
        markups.pointList(volume, kind).AddControlPointWorld(slices.toWorld(1, *pixel))
    markups.pointList(volume, markups.POSITIVE).AddControlPointWorld(slices.toWorld(2, 5, 5))
    coords, labels, marks = markups.points(slices, 1)
    np.testing.assert_allclose(coords, [[30, 40], [50, 60]], atol=1e-4)
    assert labels.tolist() == [1, 0]
    assert [mark[0] for mark in marks] == ["+", "-"]
    markups.removePoints(volume, {marks[1]})
    assert markups.points(slices, 1)[2] == marks[:1]
    markups.clearPoints(volume)
    assert markups.points(slices, 1)[0].shape == (0, 2)
