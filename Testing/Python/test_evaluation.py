"""Metrics against cases worked out by hand, folders of masks, and pictures of results."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MedCLIPSAMLib.evaluation.metrics import dsc, hd95, nsd, nsd_as_published


def disc(column: float, radius: float = 40, size: int = 200) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - size / 2) ** 2 + (x - column) ** 2 <= radius**2


def square(row: int = 20, column: int = 20) -> np.ndarray:
    mask = np.zeros((60, 60), bool)
    mask[row : row + 20, column : column + 20] = True
    return mask


def test_dsc_of_a_half_covered_square():
    half = square()
    half[30:] = False
    assert dsc(half, square()) == pytest.approx(2 * 200 / 600)


def test_empty_masks_score_one_together_and_nothing_alone():
    empty, full = np.zeros((60, 60), bool), square()
    assert dsc(empty, empty) == nsd(empty, empty, (1, 1), 2) == 1.0
    assert dsc(empty, full) == dsc(full, empty) == nsd(empty, full, (1, 1), 2) == nsd(full, empty, (1, 1), 2) == 0.0
    assert hd95(empty, empty, (1, 1)) == 0.0
    assert math.isinf(hd95(empty, full, (1, 1)))


def test_nsd_of_shifted_discs_is_that_of_their_contours():
    """The contours are within 2 px where |6 cos(angle)| <= 2: 4 asin(1/3) of 2 pi, less what the pixel grid adds."""
    expected = 4 * math.asin(1 / 3) / (2 * math.pi)
    one, other = disc(97), disc(103)
    assert nsd(one, other, (1, 1), 2) == pytest.approx(expected, abs=0.07)
    assert nsd(one, other, (1, 1), 2) == pytest.approx(0.277, abs=0.002)
    assert nsd_as_published(one, other) == pytest.approx(0.951, abs=0.001)
    assert hd95(one, other, (1, 1)) == pytest.approx(6, abs=0.3)


def test_a_volume_of_one_slice_is_measured_by_its_contour():
    one, other = disc(97), disc(103)
    for axis in range(3):
        spacing = np.insert([1.0, 1.0], axis, 5.0)
        volumes = np.expand_dims(one, axis), np.expand_dims(other, axis)
        assert nsd(*volumes, spacing, 2) == nsd(one, other, (1, 1), 2)
        assert hd95(*volumes, spacing) == hd95(one, other, (1, 1))


def test_spacing_belongs_to_its_axis():
    """Rows are 3 mm apart, columns 1 mm. One row too low, only the sides agree within 2 mm: 120 of 160 mm."""
    assert nsd(square(21), square(), (3, 1), 2) == pytest.approx(120 / 160, abs=0.02)
    assert nsd(square(20, 21), square(), (3, 1), 2) == 1.0
    assert hd95(square(21), square(), (3, 1)) == pytest.approx(3)
    assert hd95(square(20, 21), square(), (3, 1)) == pytest.approx(1)


def test_surface_of_a_volume_is_weighted_by_its_area():
    """A box of 10 x 20 x 20 voxels of 3 x 1 x 1 mm one slice too high: the four sides agree, 2400 of 3200 mm2."""
    box = np.zeros((20, 40, 40), bool)
    box[5:15, 10:30, 10:30] = True
    assert nsd(np.roll(box, 1, 0), box, (3, 1, 1), 2) == pytest.approx(2400 / 3200, abs=0.03)
    assert nsd(np.roll(box, 1, 2), box, (3, 1, 1), 2) == 1.0


def test_masks_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        dsc(square(), square()[:50])
    with pytest.raises(ValueError, match="2 spacings"):
        nsd(square()[None], square()[None], (1, 1), 2)
