"""Specks and pinholes go; what is large, or was pointed at, stays."""

from __future__ import annotations

import numpy as np
import pytest

from MedCLIPSAMLib.segmentation.tidy import tidy


@pytest.fixture
def ragged() -> np.ndarray:
    """A square of 20 x 20 with a pinhole of 2 x 2 and a hole of 6 x 6, a speck of 3 x 3 and a part of 8 x 8."""
    mask = np.zeros((64, 64), bool)
    mask[10:30, 10:30] = True
    mask[12:14, 12:14] = False
    mask[20:26, 20:26] = False
    mask[50:53, 5:8] = True
    mask[40:48, 40:48] = True
    return mask


def test_small_parts_and_holes_go_and_large_ones_stay(ragged) -> None:
    done = tidy(ragged, 0.05)
    assert done[12:14, 12:14].all() and not done[50:53, 5:8].any()
    assert not done[20:26, 20:26].any() and done[40:48, 40:48].all()
    assert np.array_equal(done[10:12, 10:30], ragged[10:12, 10:30])


def test_what_was_pointed_at_stays(ragged) -> None:
    points, labels = np.array([[6.5, 51.5], [13.5, 12.5]], np.float32), np.array([1, 0])
    done = tidy(ragged, 0.05, points, labels)
    assert done[50:53, 5:8].all() and not done[12:14, 12:14].any()
    swapped = tidy(ragged, 0.05, points, 1 - labels)
    assert np.array_equal(swapped, tidy(ragged, 0.05))


def test_nothing_is_taken_away_from_the_largest_part_nor_filled_at_the_border() -> None:
    specks = np.zeros((32, 32), bool)
    specks[::8, ::8] = True
    assert tidy(specks, 1.0).sum() >= 1
    cup = np.ones((16, 16), bool)
    cup[0, 7] = False
    assert not tidy(cup, 0.5)[0, 7]
    assert np.array_equal(tidy(specks, 0.0), specks)
    assert not tidy(np.zeros((8, 8), bool), 0.05).any()
