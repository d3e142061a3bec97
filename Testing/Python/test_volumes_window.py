"""Windows turn intensities into gray as stated, the same for every slice of a volume."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import SliceStack, Volume
from MedCLIPSAMLib.volumes.window import PRESETS, percentile_range, to_uint8, window_range


def volume_of(array: np.ndarray, **known: object) -> Volume:
    return Volume.from_sitk(sitk.GetImageFromArray(array), **known)


def test_grey_is_linear_between_low_and_high() -> None:
    gray = to_uint8(np.array([-2000, -160, -159, 40, 239, 240, 3000]), -160, 240)
    assert gray.dtype == np.uint8
    assert gray.tolist() == [0, 0, 1, 128, 254, 255, 255]
    assert to_uint8(np.array([-160, 240]), -160, 240).tolist() == [0, 255]
    assert to_uint8(np.array([0, 65535], np.uint16), 0, 65535).tolist() == [0, 255]
    for kind in (np.int32, np.uint32, np.int64, np.float64):  # of which 32 bits of floating point keep 1 value in 64
        values = (1_000_000_000 + np.arange(256)).astype(kind)
        assert to_uint8(values, float(values[0]), float(values[-1])).tolist() == list(range(256))


def test_the_file_comes_before_the_modality_before_percentiles() -> None:
    ramp = np.linspace(-1000, 1000, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert window_range(volume_of(ramp, modality="CT", window=(40, 400))) == (-160, 240)
    assert window_range(volume_of(ramp, modality="CT")) == (-125, 225)
    assert window_range(volume_of(ramp + 1024, modality="CT")) == percentile_range(ramp + 1024)  # in no units
    low, high = window_range(volume_of(ramp, modality="MR"))
    assert (low, high) == pytest.approx((-990, 990), abs=2)
    assert window_range(volume_of(np.zeros((1, 4, 4), np.uint8), natural=True)) == (0, 255)


def test_a_window_of_the_file_that_shows_nothing_is_not_believed() -> None:
    ramp = np.linspace(0, 4000, 1000, dtype=np.float32).reshape(10, 10, 10)
    assert window_range(volume_of(ramp, window=(0.5, 1))) == percentile_range(ramp)
    assert window_range(volume_of(ramp, window=(9000, 100))) == percentile_range(ramp)
    assert window_range(volume_of(ramp, window=(0.5, 1)), "file") == (0, 1)


def test_percentiles_leave_out_the_background() -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((20, 50, 50), np.float32)
    array[5:8] = rng.normal(500, 50, (3, 50, 50))
    low, high = percentile_range(array)
    assert low == pytest.approx(500 - 2.576 * 50, abs=8)
    assert high == pytest.approx(500 + 2.576 * 50, abs=8)


def test_percentiles_of_large_volumes_come_from_a_fixed_sample() -> None:
    array = np.random.default_rng(0).normal(size=(30, 300, 300)).astype(np.float32)
    assert percentile_range(array) == percentile_range(array)
    assert percentile_range(array) == pytest.approx(np.percentile(array, (0.5, 99.5)), abs=0.02)


def test_two_valued_and_constant_images_show_without_division_by_zero() -> None:
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 2, 2:] = 1
    with np.errstate(all="raise"):
        assert set(np.unique(SliceStack(volume_of(mask)).image(1))) == {0, 255}
        assert not SliceStack(volume_of(np.full((3, 4, 5), 7.0, np.float32))).image(1).any()


def test_values_that_are_no_numbers_are_black_and_change_nothing_else() -> None:
    values = np.linspace(-100, 300, 1000, dtype=np.float32).reshape(10, 10, 10)
    broken = values.copy()
    broken[3, 3, 3:6] = np.nan, np.inf, -np.inf
    low, high = percentile_range(broken)
    assert abs(low - percentile_range(values)[0]) < 2 and abs(high - percentile_range(values)[1]) < 2
    gray = to_uint8(broken, low, high)
    assert gray[3, 3, 3:6].tolist() == [0, 255, 0]
    gray[3, 3, 3:6] = to_uint8(values, low, high)[3, 3, 3:6]
    assert np.array_equal(gray, to_uint8(values, low, high))
    assert percentile_range(np.full((2, 2, 2), np.nan, np.float32)) == (0.0, 0.0)


def test_all_slices_share_one_range() -> None:
    array = np.broadcast_to(np.arange(1, 11, dtype=np.float32)[:, None, None] * 100, (10, 4, 4)).copy()
    stack = SliceStack(volume_of(array))
    grays = [int(stack.image(k)[0, 0, 0]) for k in range(10)]
    assert grays == sorted(grays) and grays[0] < 5 and grays[-1] == 255


def test_named_and_explicit_windows() -> None:
    volume = volume_of(np.zeros((2, 2, 2), np.int16), window=(40, 400))
    assert window_range(volume, "lung") == (-1350, 150)
    assert window_range(volume, "file") == (-160, 240)
    assert window_range(volume, (10, 20)) == (10, 20)
    assert {"lung", "abdomen", "brain", "bone", "soft tissue"} <= PRESETS.keys()


def test_windows_that_make_no_sense_are_refused() -> None:
    volume = volume_of(np.zeros((2, 2, 2), np.int16))
    with pytest.raises(InputError, match="soft tissue"):
        window_range(volume, "kidneys")
    with pytest.raises(InputError, match="no display window"):
        window_range(volume, "file")
    for window in ((20, 10), (5, 5), (float("nan"), 1)):
        with pytest.raises(InputError, match="is empty"):
            window_range(volume, window)
