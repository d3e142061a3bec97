"""The saliency map is drawn over the image where it is high enough, and follows the controls of the panel."""

from __future__ import annotations

import numpy as np
import pytest
from MedCLIPSAMScene import overlay
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from volumes import GEOMETRIES, Geometry, add_volume, bright, every_geometry

BESIDE = -14.0, -10.5
"""Step (R, A) from the center of the block to the half as salient place, 17.5 mm back along i of the turned volume."""


def write(volume, geometry: Geometry, beside: tuple[float, float] | None = None):
    """A map that is 0.95 on the block, 0.5 at a step from it, and 0.05 on the rest of the slice."""
    slices = SceneSlices(volume)
    k, mask = bright(slices)
    saliency = np.where(mask, 0.95, 0.05)
    if beside is not None:
        r, a, s = geometry.middle
        _number, x, y = slices.toImage((r + beside[0], a + beside[1], s))
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        saliency[np.hypot(rows + 0.5 - y, columns + 0.5 - x) < 5] = 0.5
    return overlay.writeSaliency(slices, "tumor", {k: saliency}, 0.3)


def colored(view) -> np.ndarray:
    """Return how far each pixel is from gray."""
    return np.ptp(view.image().astype(int), -1)


@every_geometry
def test_the_map_is_drawn_on_what_is_salient(view, geometry: Geometry) -> None:
    volume = add_volume(geometry)
    view.look((0, 0, geometry.middle[2]))
    write(volume, geometry)
    assert not colored(view).any()
    overlay.showMap(volume, overlay.SALIENCY, True)
    shown, (r, a, _s) = colored(view), geometry.middle
    for step in ((0, 0), *geometry.inside):
        column, row = view.pixel((r + step[0], a + step[1]))
        assert shown[row, column] > 30, step
    for step in geometry.outside:
        column, row = view.pixel((r + step[0], a + step[1]))
        assert shown[row, column] < 10, step
    half = shown.max()
    overlay.showMap(volume, overlay.SALIENCY, True, opacity=0.2)
    assert 0 < colored(view).max() < 0.6 * half
    overlay.showMap(volume, overlay.SALIENCY, False)
    assert not colored(view).any()


def test_the_map_is_not_drawn_on_other_slices(view) -> None:
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    write(volume, geometry)
    overlay.showMap(volume, overlay.SALIENCY, True)
    r, a, s = geometry.middle
    view.look((r, a, s + 6))
    assert not colored(view).any()
    view.look((r, a, s))
    assert colored(view).any()


@pytest.fixture
def shown(view, panel) -> tuple[tuple[int, int], tuple[int, int]]:
    """A map in the view and its volume in the panel, as the (row, column) of the salient and half salient places."""
    geometry = GEOMETRIES["turned"]
    volume = add_volume(geometry)
    write(volume, geometry, BESIDE)
    panel.ui.saliencyCheckBox.checked = True
    panel.ui.saliencySlider.value = 30
    panel.ui.inputVolumeSelector.setCurrentNode(None)
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    view.look(geometry.middle)
    r, a, _s = geometry.middle
    return view.pixel((r, a))[::-1], view.pixel((r + BESIDE[0], a + BESIDE[1]))[::-1]


def test_the_slider_of_the_panel_takes_away_what_is_less_salient(view, panel, shown) -> None:
    brightest, half = shown
    for threshold, seen in ((30, True), (60, False), (45, True), (100, False)):
        panel.ui.saliencySlider.value = threshold
        colors = colored(view)
        assert (colors[half] > 30) == seen, threshold
        assert (colors[brightest] > 30) == (threshold < 95), threshold
    panel.ui.saliencySlider.value = 30


def test_the_box_of_the_panel_takes_the_map_away_and_brings_it_back(view, panel, shown) -> None:
    brightest, _half = shown
    panel.ui.saliencyCheckBox.checked = False
    assert not colored(view).any()
    panel.ui.saliencyCheckBox.checked = True
    assert colored(view)[brightest] > 30
