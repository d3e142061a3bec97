"""Points for SAM are placed with the mouse, on the voxel under it, until the user ends placing."""

from __future__ import annotations

import heads
import numpy as np
import pytest
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import markups, segments
from MedCLIPSAMScene.placing import Placing
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from volumes import BRIGHT, GEOMETRIES, Geometry, add_volume, bright, every_geometry

from MedCLIPSAMLib.phantoms.dataset import make_phantom

MARKED = 255
"""The value of the voxel (21, 39, 4) only."""


def interaction():
    return slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def placing() -> bool:
    return interaction().GetCurrentInteractionMode() == slicer.vtkMRMLInteractionNode.Place


def placing_of(node) -> Placing:
    """Start placing points of a list by clicks."""
    made = Placing(lambda: None)
    made.start(node)
    return made


@every_geometry
def test_a_click_lands_on_the_voxel_under_it(view, geometry: Geometry) -> None:
    volume = add_volume(geometry)
    slicer.util.arrayFromVolume(volume)[4, 39, 21] = MARKED
    slicer.util.arrayFromVolumeModified(volume)
    view.look((geometry.middle[0], geometry.middle[1], geometry.voxel[2]))
    node = markups.pointList(volume, markups.POSITIVE)
    placing_of(node)
    view.click(view.pixel(geometry.voxel))
    assert node.GetNumberOfControlPoints() == 1
    placed = np.array(node.GetNthControlPointPositionWorld(0))
    assert np.abs(placed - geometry.voxel).max() < 0.2  # a pixel is 0.25 mm wide
    assert np.rint(geometry.index(placed)).tolist() == [21, 39, 4]
    # And that is the pixel that the models are given.
    slices = SceneSlices(volume)
    k, _mask = bright(slices)
    ((x, y),), labels, _marks = markups.points(slices, k)
    assert slices.stack.image(k)[int(y), int(x), 0] > (BRIGHT + MARKED) / 2
    assert labels.tolist() == [1]


def test_points_have_the_color_of_their_kind_and_stay_on_their_slice(view) -> None:
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    r, a, s = geometry.middle
    view.look(geometry.middle)
    places = {markups.POSITIVE: view.pixel((r, a)), markups.NEGATIVE: view.pixel((r - 12, a - 9))}
    lists = {kind: markups.pointList(volume, kind) for kind in places}
    for kind, pixel in places.items():
        clicks = placing_of(lists[kind])
        view.click(pixel)
        assert lists[kind].GetNumberOfDefinedControlPoints() == 1
    clicks.stop()
    view.move((5, 5))
    image = view.image()
    for kind, (column, row) in places.items():
        assert np.allclose(image[row, column] / 255, markups.COLORS[kind], atol=0.1), kind
    view.look((r, a, s + 4))
    image = view.image()
    assert (image == image[..., :1]).all()


@pytest.fixture
def ready(view, panel) -> object:
    """A head in the view, and a segment to be corrected in the panel, as the center of its lesion."""
    phantom = make_phantom("validation", 3, "MR", 1)
    volume = heads.add_volume(phantom.image)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    node = segments.newSegmentation(volume, "by hand")
    identifier = segments.addSegment(node, "tumor")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(identifier)
    view.look((-4, 6, -16), 128)
    row, column = np.argwhere(phantom.lesion_mask).mean(0).astype(int)
    return 60 - column, 70 - row, -16  # of heads.add_volume


def points(panel) -> int:
    """Return the number of points on the volume of the panel."""
    lists = [markups.markupsOf(panel.parameters.inputVolume, kind) for kind in (markups.POSITIVE, markups.NEGATIVE)]
    return sum(node.GetNumberOfDefinedControlPoints() for line in lists for node in line)


def test_a_click_outlines_the_lesion_under_it(view, panel, ready) -> None:
    """From the button of the panel, by the mouse and the models, to a mask under the mouse."""
    pixel = view.pixel(ready)
    before = view.image()
    panel.ui.insideButton.checked = True
    view.click(pixel)
    standin.pump(lambda: not panel.busy, 60)
    assert "Refined" in panel.ui.resultLabel.text
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    slices = SceneSlices(panel.parameters.inputVolume)
    mask = segments.readSlice(node, identifier, slices, 1)
    assert mask[70 - ready[1], 60 - ready[0]]
    panel.ui.insideButton.checked = False
    markups.clearPoints(panel.parameters.inputVolume)
    changed = (view.image() != before).any(-1)
    assert changed[pixel[1], pixel[0]]
    assert 0.5 < changed.sum() / mask.sum() / (view.size / 128) ** 2 < 1.5


@pytest.mark.parametrize("button", ["insideButton", "outsideButton"])
def test_a_right_click_ends_placing_and_releases_the_button(view, panel, ready, button) -> None:
    getattr(panel.ui, button).checked = True
    view.move(view.pixel(ready))
    assert placing()
    view.click(view.pixel(ready), "Right")
    assert not placing()
    assert points(panel) == 0
    assert not panel.ui.insideButton.checked
    assert not panel.ui.outsideButton.checked
    assert interaction().GetPlaceModePersistence() == 0
    view.click(view.pixel(ready))
    assert points(panel) == 0
    getattr(panel.ui, button).checked = True  # and it begins anew
    assert placing()
    getattr(panel.ui, button).checked = False


def test_a_double_click_ends_placing_and_releases_the_button(view, panel, ready) -> None:
    panel.ui.insideButton.checked = True
    view.double_click(view.pixel(ready))
    standin.pump(lambda: not panel.busy, 60)
    assert not placing()
    assert points(panel) == 1
    assert not panel.ui.insideButton.checked
    assert not panel.ui.outsideButton.checked


def test_the_button_says_what_a_click_does_after_every_key(view, panel, ready) -> None:
    """No key of the slice view ends placing in Slicer 5; after any key, the button and the mouse mode agree."""
    panel.ui.insideButton.checked = True
    view.move(view.pixel(ready))
    for name, code in (("Escape", "\x1b"), ("Delete", "\x7f"), ("Return", "\r"), ("v", "v")):
        view.key(name, code)
        assert panel.ui.insideButton.checked == placing(), name
    panel.ui.insideButton.checked = False
    assert not placing()
