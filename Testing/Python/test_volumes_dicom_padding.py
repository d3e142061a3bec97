"""Padding of DICOM images is no image data (PS3.3 C.7.5.1.1.2): it neither shows bright nor shifts the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_made import AXIAL, CR, CT, MR, image, save

from MedCLIPSAMLib.volumes import SliceStack, read_volume
from MedCLIPSAMLib.volumes.dicom_decode import SECONDARY_CAPTURE
from MedCLIPSAMLib.volumes.window import window_range

INSIDE = (slice(8, 24), slice(8, 24))
RAMP = np.arange(256).reshape(16, 16)
PLACE = {"ImagePositionPatient": [0.0, 0.0, 0.0], "ImageOrientationPatient": [float(a) for a in AXIAL]}


def padded(path: Path, padding: int, low: int, dtype: type = np.uint16, kind: str = MR, **tags: Any) -> Path:
    """32 x 32 pixels: a square of the values low to low + 255 amid padding."""
    pixels = np.full((32, 32), padding, dtype)
    pixels[INSIDE] = RAMP + low
    modality = {MR: "MR", CT: "CT", CR: "CR"}[kind]
    known: dict[str, Any] = {"PixelSpacing": [1.0, 1.0], "PixelPaddingValue": padding, **(PLACE if kind != CR else {})}
    return save(image(pixels, kind, modality, **(known | tags)), path)


@pytest.mark.parametrize(
    ("bits", "padding"),
    [(16, 65535), (12, 4095), (12, 65535), (16, 600)],  # above the image, in unused bits, amid its values
)
def test_padding_above_the_image_is_dark_and_not_in_the_window(tmp_path: Path, bits: int, padding: int) -> None:
    path = padded(tmp_path / "x.dcm", padding, 500, BitsStored=bits, HighBit=bits - 1)
    volume = read_volume(path)
    assert np.array_equal(volume.array[0][INSIDE], RAMP + 500)  # 600, which does not reach the edge, stays there
    outside = np.ones((32, 32), bool)
    outside[INSIDE] = False
    assert (volume.array[0][outside] == 500).all()
    # The percentiles 0.5 and 99.5 of 501 to 755: 254 steps, so 1.27 above the lowest and below the highest
    low, high = window_range(volume)
    assert low == pytest.approx(502.27, abs=0.02) and high == pytest.approx(753.73, abs=0.02)
    assert SliceStack(volume).image(0)[0, 0, 0] == 0
    (note,) = volume.notes
    assert "768 voxels are padding" in note and "500" in note


def test_zeros_of_a_phase_image_with_a_padding_value_of_0_stay(tmp_path: Path) -> None:
    pixels = np.full((8, 8), -1000, np.int16)
    pixels[3:5, 3:5], pixels[0] = 0, 1000
    made = image(pixels, MR, "MR", PixelSpacing=[1.0, 1.0], PixelPaddingValue=0, **PLACE)
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert np.array_equal(volume.array[0], pixels) and volume.notes == []


@pytest.mark.parametrize("padding", [63536, 65535])
def test_the_padding_value_of_16_bits_is_none_of_8(tmp_path: Path, padding: int) -> None:
    pixels = np.full((8, 8), 100, np.uint8)
    pixels[0], pixels[1] = 255, 48  # the lower halves of both values
    made = image(pixels, SECONDARY_CAPTURE, "OT", PixelPaddingValue=padding)
    assert np.array_equal(read_volume(save(made, tmp_path / "x.dcm")).array[0], pixels)


def test_a_range_of_padding_is_left_out(tmp_path: Path) -> None:
    for limit, value in ((10, 0), (0, 10)):
        path = padded(tmp_path / "x.dcm", value, 100, PixelPaddingRangeLimit=limit)
        assert read_volume(path).notes == []  # all of it has one value, below the image
        made = np.full((32, 32), 7, np.uint16)
        made[INSIDE] = RAMP + 100
        made[0] = 3
        tags = {"PixelPaddingValue": value, "PixelPaddingRangeLimit": limit, "PixelSpacing": [1.0, 1.0]}
        volume = read_volume(save(image(made, MR, "MR", **PLACE, **tags), tmp_path / "y.dcm"))
        assert volume.array.min() == 100 and "768 voxels are padding" in volume.notes[0]


@pytest.mark.parametrize("written", [-2000, 63536])
def test_ct_outside_its_circle_stays_as_it_is(tmp_path: Path, written: int) -> None:
    tags = {"RescaleIntercept": 0, "RescaleSlope": 1}
    path = padded(tmp_path / "x.dcm", -2000, -100, np.int16, CT, PixelPaddingValue=None, **tags)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00280120, "SS" if written < 0 else "US", written)
    dataset.save_as(path)
    volume = read_volume(path)
    assert volume.array[0, 0, 0] == -2000 and volume.array[0, 8, 8] == -100 and volume.notes == []
    assert window_range(volume) == (-125, 225)


def test_padding_above_a_ct_is_air(tmp_path: Path) -> None:
    volume = read_volume(padded(tmp_path / "x.dcm", 32767, -100, np.int16, CT))
    assert volume.array[0, 0, 0] == -100 and SliceStack(volume).image(0)[0, 0, 0] < 20


def test_padding_of_an_inverted_radiograph_is_dark(tmp_path: Path) -> None:
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    volume = read_volume(padded(tmp_path / "x.dcm", 0, 1000, kind=CR, **tags))
    # Stored 1000 to 1255 become 4095 - v: 2840 to 3095; padding would be 4095
    assert (volume.array.min(), volume.array.max(), volume.array[0, 0, 0]) == (2840, 3095, 2840)


def test_zeros_around_a_head_are_the_background_that_they_were(tmp_path: Path) -> None:
    volume = read_volume(padded(tmp_path / "x.dcm", 0, 500))
    assert volume.array[0, 0, 0] == 0 and volume.notes == []


@pytest.mark.parametrize("size", [4, 8])
def test_padding_of_floating_point_images_is_dark(tmp_path: Path, size: int) -> None:
    pixels = np.full((8, 8), 1e6, f"<f{size}")
    pixels[2:6, 2:6] = np.arange(16).reshape(4, 4) / 2
    pixels[3, 3] = np.nan
    made = image(np.zeros((8, 8), np.uint16), MR, "MR", BitsAllocated=8 * size, PixelSpacing=[1.0, 1.0], **PLACE)
    kind = "FloatPixel" if size == 4 else "DoubleFloatPixel"
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, keyword)
    setattr(made, f"{kind}Data", pixels.tobytes())
    setattr(made, f"{kind}PaddingValue", 1e6)
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert volume.array.max() == 7.5 and volume.array[0, 0, 0] == 0
    assert any("48 voxels are padding" in note for note in volume.notes)
