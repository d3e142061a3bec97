"""A mask of an image is drawn on the voxels that it was made from, in the color of its segment."""

from __future__ import annotations

import numpy as np
import slicer
from MedCLIPSAMScene import segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks
from volumes import BRIGHT, DARK, GEOMETRIES, Geometry, add_volume, bright, every_geometry

from MedCLIPSAMLib.volumes.terminology import color_for

NAME = "brain tumor"


def write(volume, k: int, mask: np.ndarray):
    """A new segmentation with a mask on a slice."""
    node = segments.newSegmentation(volume)
    identifier = segments.addSegment(node, NAME)
    segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(volume), {k: mask}))
    return node, identifier


def beside(geometry: Geometry, step: tuple[float, float]) -> tuple[float, float, float]:
    """Return the point a step (R, A) from the center of the block."""
    r, a, s = geometry.middle
    return r + step[0], a + step[1], s


@every_geometry
def test_a_mask_is_drawn_on_the_lesion_and_nowhere_else(view, geometry: Geometry) -> None:
    volume = add_volume(geometry)
    view.look((0, 0, geometry.middle[2]))
    before = view.image()
    lesion = before[..., 0] > (DARK + BRIGHT) / 2
    write(volume, *bright(SceneSlices(volume)))
    drawn = (view.image() != before).any(-1)
    for step in ((0, 0), *geometry.inside):
        column, row = view.pixel(beside(geometry, step))
        assert lesion[row, column], step
        assert drawn[row, column], step
    for step in geometry.outside:
        column, row = view.pixel(beside(geometry, step))
        assert not lesion[row, column], step
        assert not drawn[row, column], step
    column, row = view.pixel(geometry.middle)
    far = np.hypot(*np.ogrid[-row : view.size - row, -column : view.size - column]) > 10 * 4  # 10 mm of 4 pixels
    assert not drawn[far].any()


@every_geometry
def test_a_mask_is_not_drawn_on_other_slices(view, geometry: Geometry) -> None:
    volume = add_volume(geometry)
    write(volume, *bright(SceneSlices(volume)))
    r, a, s = geometry.middle
    for away in (-14, 14):  # beyond the block whichever way it is tilted
        view.look((r, a, s + away))
        image = view.image()
        assert (image == image[..., :1]).all(), "colors on a slice without a mask"
    view.look(geometry.middle)
    image = view.image()
    assert (image != image[..., :1]).any()


def test_the_neighboring_slice_is_free(view) -> None:
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    write(volume, *bright(SceneSlices(volume)))
    r, a, s = geometry.middle
    for away, seen in ((-2.5, False), (-1.5, True), (1.5, True), (2.5, False)):  # slices are 4 mm apart
        view.look((r, a, s + away))
        image = view.image()
        assert (image != image[..., :1]).any() == seen, away


def test_a_mask_has_the_color_of_its_segment(view) -> None:
    """The fill is a mixture of the image and the segment's color."""
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    node, identifier = write(volume, *bright(SceneSlices(volume)))
    color = np.array(color_for(NAME))
    share = node.GetDisplayNode().GetOpacity2DFill()
    view.look(geometry.middle)
    column, row = view.pixel(geometry.middle)
    assert 0.2 < share < 0.8
    assert np.ptp(color) > 0.3
    assert np.allclose(view.image()[row, column], (1 - share) * BRIGHT + share * 255 * color, atol=3)
    node.GetSegmentation().GetSegment(identifier).SetColor(1, 0, 1)
    red, green, blue = view.image()[row, column].astype(int)
    assert red == blue > green


def test_a_mask_that_was_removed_is_not_drawn(view) -> None:
    """This holds for a segment removed by undo, and for a whole segmentation."""
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    view.look(geometry.middle)
    before = view.image()
    node, identifier = write(volume, *bright(SceneSlices(volume)))
    assert (view.image() != before).any()
    node.GetSegmentation().RemoveSegment(identifier)
    assert (view.image() == before).all()
    node, identifier = write(volume, *bright(SceneSlices(volume)))
    assert (view.image() != before).any()
    slicer.mrmlScene.RemoveNode(node)
    assert (view.image() == before).all()
