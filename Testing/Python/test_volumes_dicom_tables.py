"""The tables of DICOM files: their byte order, and entries of 8 bits in words."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_made import CR, image, item, save
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from MedCLIPSAMLib.volumes import SliceStack, read_volume


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
