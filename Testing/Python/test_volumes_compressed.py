"""Compressed voxels of NRRD and MetaImage: read whole, or refused with what is wrong."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_volumes_headers import META, NRRD, PACKED, VOXELS

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import read_volume
from MedCLIPSAMLib.volumes.read import read_image


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("place", ["LOCAL", "x.zraw", "./x.zraw"])
@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_compressed_voxels_of_meta_image_are_read(
    tmp_path: Path, length: bool, place: str, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(VOXELS.tobytes())
    path = tmp_path / ("x.mha" if place == "LOCAL" else "x.mhd")
    more = PACKED + f"CompressedDataSize = {len(data)}\n" * length + "ElementSpacing = 1 2 3\nComment = a = b: c\n"
    path.write_bytes(META.format(more, place).encode() + data * (place == "LOCAL"))
    (tmp_path / "x.zraw").write_bytes(data)
    volume = read_volume(path)
    assert np.array_equal(volume.array.ravel(), VOXELS) and volume.geometry.spacing == (1, 2, 3)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda data: data[:9] + bytes([data[9] ^ 255]) + data[10:], "damaged|truncated|Expected 24 bytes"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "incorrect data check"),
        (lambda data: b"", "truncated"),
        (lambda data: zlib.compress(bytes(23)), "Expected 24 bytes of voxels in .* got 23"),
        (lambda data: zlib.compress(bytes(9999)), "Expected 24 bytes of voxels in .* got more"),
    ],
)
@pytest.mark.parametrize("length", [True, False])
def test_damaged_compressed_voxels_of_meta_image_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str, length: bool
) -> None:
    data = zlib.compress(VOXELS.tobytes())
    path = tmp_path / "x.mha"
    more = PACKED + f"CompressedDataSize = {len(data)}\n" * length
    path.write_bytes(META.format(more, "LOCAL").encode() + change(data))
    for read in (read_volume, read_image):
        with pytest.raises(InputError, match=said):
            read(path)


@pytest.mark.parametrize("place", ["x.zraw", "s%d.zraw 0 3 1", "LIST\ns0.zraw"])
def test_compressed_voxels_that_are_not_in_one_file_are_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / "x.mhd"
    path.write_text(META.format(PACKED, place))
    (tmp_path / "s0.zraw").write_bytes(zlib.compress(VOXELS.tobytes()))
    with pytest.raises(InputError, match="beside it, got none" if place == "x.zraw" else "in one file beside it"):
        read_volume(path)


@pytest.mark.parametrize("encoding", ["bzip2", "bz2"])
def test_bzip2_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.nrrd"
    header = NRRD.format("space directions: (1,0,0) (0,1,0) (0,0,1)\n").replace(
        "encoding: raw", f"encoding: {encoding}"
    )
    path.write_bytes(header.encode() + b"\n" + bz2.compress(VOXELS.tobytes()))
    with pytest.raises(InputError, match="compressed by bzip2, which is not supported") as caught:
        read_volume(path)
    assert "complete" not in str(caught.value)
