"""ANALYZE 7.5, the older pair of a header and voxels: its values, as ITK, which knows its axes, makes 0 of NaN."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np

from MedCLIPSAMLib.volumes.nifti_file import NiftiFile, beside, open_content, read_header, read_voxels
from MedCLIPSAMLib.volumes.suffixes import PAIR_SUFFIXES, VOXEL_SUFFIXES

HEADER_BYTES = 348
NIFTI_MAGIC = b"ni1\0"


def find_analyze(path: Path) -> NiftiFile | None:
    """Find both files by either of them, by names and the length that the header begins with; None for other files.

    A file that is NIfTI is to be looked for before.
    """
    is_header = path.name.lower().endswith(PAIR_SUFFIXES)
    if not is_header and not path.name.lower().endswith(VOXEL_SUFFIXES):
        return None
    other = beside(path, VOXEL_SUFFIXES if is_header else PAIR_SUFFIXES)
    if other is None:
        return None
    file = NiftiFile(path, other) if is_header else NiftiFile(other, path)
    head = _head(file.header)
    is_analyze = HEADER_BYTES in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
    return file if is_analyze and len(head) == HEADER_BYTES else None


def read_values(file: NiftiFile) -> np.ndarray:
    """Read the voxels (K, J, I), or (K, J, I, channels), in their stored type.

    Raises:
        InputError: damaged or truncated.
    """
    head = _head(file.header)
    # The fields of the two formats are the same up to the scale, and from cal_max to aux_file; all others are NIfTI's.
    known = head[:112] + bytes(12) + head[124:252] + bytes(92) + NIFTI_MAGIC
    header = read_header(io.BytesIO(known), file.header)
    shape = [int(extent) for extent in header["dim"][1 : 1 + int(header["dim"][0])]]
    with open_content(file.voxels) as content:
        return read_voxels(content, header, tuple((shape + [1, 1, 1])[:3]), file.voxels)


def _head(path: Path) -> bytes:
    try:
        with open_content(path) as file:
            return file.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""
