"""Which values and colors DICOM images have, and which are black and white, by their tables and windows."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_made import CR, MR, colored, image, item, save, slice_at
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

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

    def read(samples: int | None, kind: str = kind, planes: int | None = 0) -> Volume:
        tags = {"SamplesPerPixel": samples, "PhotometricInterpretation": kind, "PlanarConfiguration": planes}
        made = colored(colors, **tags)
        return read_volume(save(made, tmp_path / "x.dcm"))

    volume = read(None)
    assert volume.array.shape == (1, 8, 16, 3) and np.array_equal(volume.array, read(3).array)
    assert volume.notes == ["SamplesPerPixel is missing: 3 was taken."]
    assert read(3, planes=None).notes == ["PlanarConfiguration is missing: 0 was taken."]
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


def test_tables_of_big_endian_files_are_read_in_their_order(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6)
    words = (np.arange(24) * 2500).astype(">u2").tobytes()
    table = item(LUTDescriptor=[24, 0, 16], ModalityLUTType="US")
    table.add_new(0x00283006, "OW", words)
    made = image(pixels, CR, "CR", PixelData=pixels.astype(">u2").tobytes())
    made.ModalityLUTSequence = Sequence([table])
    volume = read_volume(save(made, tmp_path / "x.dcm", ExplicitVRBigEndian))
    assert np.array_equal(volume.array[0], pixels.astype(int) * 2500)
    del made.ModalityLUTSequence
    made.VOILUTSequence = Sequence([table])
    shown = SliceStack(read_volume(save(made, tmp_path / "y.dcm", ExplicitVRBigEndian))).image(0)[0, :4, 0]
    assert shown.tolist() == [0, 10, 19, 29]  # 0, 2500, 5000, 7500 of 65535, by 255


def palette(pixels: np.ndarray, bits: int, entries: bytes) -> pydicom.Dataset:
    made = image(pixels, "1.2.840.10008.5.1.4.1.1.3.1", "US", PhotometricInterpretation="PALETTE COLOR")
    for color in ("Red", "Green", "Blue"):
        setattr(made, f"{color}PaletteColorLookupTableDescriptor", [256, 0, bits])
        made.add_new(f"{color}PaletteColorLookupTableData", "OW", entries)
    return made


@pytest.mark.parametrize(
    ("bits", "factor", "kind"), [(8, 1, "u1"), (8, 1, "<u2"), (16, 1, "<u2"), (16, 257, "<u2"), (16, 256, "<u2")]
)
def test_entries_of_palettes_of_8_bits_may_be_words(tmp_path: Path, bits: int, factor: int, kind: str) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    made = palette(pixels, bits, ((255 - np.arange(256)) * factor).astype(kind).tobytes())
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert np.array_equal(volume.array[0, ..., 1], 255 - pixels)


@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (16, ">u2")])
def test_palettes_of_big_endian_files_are_read_in_their_order(tmp_path: Path, bits: int, kind: str) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    table = (np.arange(256) * (1 if bits == 8 else 256)).astype(kind)
    entries = table.view("<u2").astype(">u2").tobytes() if bits == 8 else table.tobytes()
    made = palette(pixels, bits, entries)
    made["PixelData"].VR = "OB"
    volume = read_volume(save(made, tmp_path / "x.dcm", ExplicitVRBigEndian))
    assert np.array_equal(volume.array[0, ..., 0], pixels)


def test_values_beyond_a_palette_of_8_bits_have_its_last_color(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6) * 20
    made = palette(pixels, 8, np.arange(256, dtype="u1").tobytes())
    volume = read_volume(save(made, tmp_path / "x.dcm"))
    assert np.array_equal(volume.array[0, ..., 2], np.minimum(pixels, 255))


def test_a_loop_of_a_palette_takes_no_wide_copy_of_all_frames(tmp_path: Path) -> None:
    made = palette(np.zeros((64, 64, 64), np.uint8), 16, np.arange(256, dtype="<u2").tobytes())
    path = save(made, tmp_path / "x.dcm")
    tracemalloc.start()
    volume = read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert volume.is_rgb and peak / volume.array.size < 4  # bytes a color
