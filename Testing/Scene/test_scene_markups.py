"""Boxes and points in the scene, and what SAM makes of them."""

from __future__ import annotations

import numpy as np
from helpers.scene import add_volume, oblique
from MedCLIPSAMScene import markups
from MedCLIPSAMScene.sliceGeometry import SceneSlices


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
