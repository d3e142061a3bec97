"""Boxes are drawn around their contents and dragged with the mouse, and SAM follows them."""

from __future__ import annotations

import heads
import numpy as np
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import markups, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from volumes import Geometry, add_volume, bright, every_geometry

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.dataset import make_phantom


def yellow(image: np.ndarray) -> np.ndarray:
    """Return the mask of pixels with the color of boxes."""
    return (np.abs(image / 255 - markups.COLORS[markups.BOX]) < 0.1).all(-1)


def around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x0 y0 x1 y1 of the bounding box of a mask."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def drag_handle(view, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag from three pixels next to a handle, because exactly on the line through it Slicer picks the line instead."""
    view.drag(np.add(start, 3), np.add(end, 3))


@every_geometry
def test_a_box_is_drawn_around_the_block_and_read_back(view, geometry: Geometry) -> None:
    volume = add_volume(geometry)
    view.look(geometry.middle)
    slices = SceneSlices(volume)
    k, mask = bright(slices)
    (node,) = markups.showBoxes(slices, k, np.array([around(mask)]))
    node.GetDisplayNode().SetHandlesInteractive(False)  # only its edges
    drawn, (r, a, s) = yellow(view.image()), geometry.middle
    rows, columns = np.nonzero(drawn)
    edges = np.stack([r + (view.size / 2 - columns) / 4, a + (view.size / 2 - 1 - rows) / 4, np.full(len(rows), s)], 1)
    # Each pixel of an edge is on a side of the block, or on its middle, which is a handle.
    off = np.abs(geometry.index(edges) - (23.5, 35.5, 4)) / (4, 6, 0.5)
    middle = np.hypot(*(edges - geometry.middle)[:, :2].T) < 2.5
    assert len(rows) > 60
    assert (np.abs(off[~middle].max(1) - 1) < 0.25).all()
    assert np.allclose(markups.boxes(slices)[k], [around(mask)], atol=0.01)


def test_a_box_is_not_drawn_on_other_slices(view) -> None:
    phantom = make_phantom("validation", 3, "MR", 1)
    slices = SceneSlices(heads.add_volume(phantom.image))
    markups.addBox(slices, 1, around(phantom.lesion_mask))
    view.look((-4, 6, -16), 128)
    assert yellow(view.image()).sum() > 100
    view.look((-4, 6, -12), 128)
    assert not yellow(view.image()).any()


def test_boxes_that_were_removed_are_not_drawn(view) -> None:
    """After "Remove boxes", and when others replace them, nothing of the boxes stays in the scene."""
    phantom = make_phantom("validation", 3, "MR", 1)
    volume = heads.add_volume(phantom.image)
    slices = SceneSlices(volume)
    view.look((-4, 6, -16), 128)
    lesion, other = around(phantom.lesion_mask), (90, 90, 100, 100)
    markups.showBoxes(slices, 1, np.array([lesion]))
    column, row = view.pixel((60.5 - lesion[0], 70.5 - (lesion[1] + lesion[3]) / 2))  # the left side
    left = np.s_[row - 2 : row + 3, column - 2 : column + 3]
    assert yellow(view.image()[left]).any()
    markups.showBoxes(slices, 1, np.array([other]))
    image = view.image()
    assert yellow(image).any()
    assert not yellow(image[left]).any(), "the box of before is still drawn"
    markups.removeBoxes(volume)
    assert not yellow(view.image()).any()
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsDisplayNode")


@every_geometry
def test_one_side_of_a_box_follows_its_handle(view, geometry: Geometry) -> None:
    """The handle on the side of the block where i ends, 6 mm from the middle, is dragged 4 mm further."""
    slices = SceneSlices(add_volume(geometry))
    k, mask = bright(slices)
    markups.showBoxes(slices, k, np.array([around(mask)]))
    (before,), (r, a, s) = markups.boxes(slices)[k], geometry.middle
    view.look((r + 0.05, a + 0.05, s))  # so that no line is exactly on pixels
    along = lambda distance: view.pixel((r + distance * geometry.along[0], a + distance * geometry.along[1]))
    drag_handle(view, along(6), along(10))
    changes = np.sort(np.abs(markups.boxes(slices)[k][0] - before))  # pixels of the slice are 1 mm wide
    assert np.allclose(changes, (0, 0, 0, 4), atol=0.4), changes


def test_a_handle_is_dragged_and_the_segment_follows(view, panel) -> None:
    """The box holds a part of the lesion until its right and its lower side are dragged."""
    phantom = make_phantom("validation", 3, "MR", 1)
    volume = heads.add_volume(phantom.image)
    slices = SceneSlices(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumor")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    x0, y0, x1, y1 = around(phantom.lesion_mask)
    x, y = (2 * x0 + x1) // 3, (y0 + 2 * y1) // 3
    markups.addBox(slices, 1, (x0, y0, x, y))
    view.look((-4, 6, -16), 128)
    pixel = lambda x, y: view.pixel((60.5 - x, 70.5 - y))  # from the outer edge of a column and a row
    drag_handle(view, pixel(x, (y0 + y) / 2), pixel(x1, (y0 + y) / 2))
    drag_handle(view, pixel((x0 + x1) / 2, y), pixel((x0 + x1) / 2, y1))
    assert np.allclose(markups.boxes(slices)[1], [(x0, y0, x1, y1)], atol=0.5)
    assert panel.ui.segmentBoxesButton.enabled
    panel.ui.segmentBoxesButton.click()
    standin.pump(lambda: not panel.busy, 60)
    mask = segments.readSlice(node, identifier, slices, 1)
    assert dsc(mask, phantom.lesion_mask) > 0.75
