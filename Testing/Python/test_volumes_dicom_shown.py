"""Which values of DICOM images are black and white where the file says less, or more, than one window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_made import CR, MR, image, save, slice_at

from MedCLIPSAMLib.volumes import Volume, read_volume
from MedCLIPSAMLib.volumes.slices import SliceStack

SC = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("dark", [False, True])
def test_black_and_white_of_one_bit_is_seen(tmp_path: Path, dark: bool) -> None:
    mask = np.zeros((8, 16), bool)
    mask[2:5, 3:9] = True
    made = image(mask.astype(np.uint8), SC, "OT", BitsAllocated=1, BitsStored=1, HighBit=0)
    made.PixelData = np.packbits(mask, bitorder="little").tobytes()
    made.PhotometricInterpretation = "MONOCHROME1" if dark else "MONOCHROME2"
    shown = SliceStack(read_volume(save(made, tmp_path / "x.dcm"))).image(0)[..., 0]
    assert np.array_equal(shown, np.where(mask != dark, 255, 0))


def test_gray_of_fewer_than_8_bits_reaches_white(tmp_path: Path) -> None:
    pixels = np.arange(128, dtype=np.uint8).reshape(8, 16)
    made = image(pixels, CR, "CR", BitsStored=7, HighBit=6)
    shown = SliceStack(read_volume(save(made, tmp_path / "x.dcm"))).image(0)[..., 0]
    assert np.array_equal(shown, np.rint(pixels * (255 / 127)).astype(np.uint8))


def test_the_first_window_that_can_be_used_is_taken(tmp_path: Path) -> None:
    made = slice_at((0, 0, 0), 3, WindowCenter=["40", "300"], WindowWidth=["0", "200"])
    assert read_volume(save(made, tmp_path / "x.dcm")).window == (300, 200)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL", "Rgb"])
def test_colors_without_a_number_of_samples_or_said_to_be_gray_are_colors(tmp_path: Path, kind: str) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8)

    def read(samples: int | None, kind: str = kind) -> Volume:
        made = image(colors[..., 0], SC, "OT", SamplesPerPixel=samples, PhotometricInterpretation=kind)
        made.PixelData, made.PlanarConfiguration = colors.tobytes(), 0
        return read_volume(save(made, tmp_path / "x.dcm"))

    volume = read(None)
    assert volume.array.shape == (1, 8, 16, 3) and np.array_equal(volume.array, read(3).array)
    assert volume.notes == ["SamplesPerPixel is missing: 3 was taken."]
    made = image(colors[..., 0], SC, "OT", SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=bytes(384))
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert "PlanarConfiguration is missing: 0 was taken." in volume.notes and volume.is_rgb
    volume = read(3, "MONOCHROME2")
    assert np.array_equal(volume.array[0], colors)
    assert volume.notes == ["PhotometricInterpretation is 'MONOCHROME2': RGB was taken."]


@pytest.mark.parametrize("lacking", [range(2, 3), range(4), range(5)])
def test_a_middle_slice_without_a_window_takes_that_of_the_nearest(tmp_path: Path, lacking: range) -> None:
    for n in range(5):
        tags = {} if n in lacking else {"WindowCenter": 100 + n, "WindowWidth": 200}
        save(slice_at((0, 0, n), n, SOPClassUID=MR, Modality="MR", **tags), tmp_path / f"{n}.dcm")
    assert read_volume(tmp_path).window == {1: (101, 200), 4: (104, 200), 5: None}[len(lacking)]


@pytest.mark.parametrize("value, is_said", [(0, False), (1, True)])
def test_a_slope_of_0_is_told_of_where_the_slice_is_not_empty(tmp_path: Path, value: int, is_said: bool) -> None:
    for n, stored in enumerate((4, 4, value)):  # PET scales each slice by its own maximum, which is 0 in an empty one
        tags = {"Modality": "PT", "RescaleSlope": 0.5 if n < 2 else 0, "RescaleIntercept": 0}
        save(slice_at((0, 0, n), stored, **tags), tmp_path / f"{n}.dcm")
    volume = read_volume(tmp_path)
    assert volume.array[:, 0, 0].tolist() == [2, 2, value]
    assert any("RescaleSlope is '0.0' in 1 of 3 images" in note for note in volume.notes) == is_said
