"""NIfTI files on disk: a single file or a pair, compressed or not; their headers and voxels.

nibabel is imported at the first file, because 3D Slicer, whose Python loads this module, does not ship it.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError, load_package
from MedCLIPSAMLib.volumes.suffixes import PAIR_SUFFIXES, VOXEL_SUFFIXES
from MedCLIPSAMLib.volumes.volume import stem

if TYPE_CHECKING:
    import nibabel

SINGLE = (b"n+1\0", b"n+2\0")
PAIR = (b"ni1\0", b"ni2\0")
"""Magic numbers of NIfTI-1 and NIfTI-2: for a single file, and for a header whose voxels are in a file beside it."""
SIZE = 348
"""Length of an ANALYZE or NIfTI-1 header in bytes."""
VECTOR = "vector"
VECTOR_INTENT = 1007
RGB_INTENTS = (2003, 2004)
"""Intents of a vector, and of colors without and with alpha (nifti1.h)."""
MAX_COMPRESSION = 1100
"""Maximum compression factor of Deflate: a header that declares more is wrong."""
MAX_BZIP2 = 2_000_000
"""The same for bzip2, in which a block of 46 MB of one value takes about 40 bytes."""
BZIP2 = b"BZh"


@dataclass(frozen=True)
class NiftiFile:
    """Location of the header and the voxels of an image, in one file or in two."""

    header: Path
    voxels: Path


def find_nifti(path: Path) -> NiftiFile | None:
    """Find the header and the voxels of a NIfTI image from either file, whatever its name; None for other files.

    Raises:
        InputError: the file is a header without a file of voxels.
    """
    magic = _magic(path)
    if magic in SINGLE:
        return NiftiFile(path, path)
    if magic in PAIR:
        voxels = beside(path, VOXEL_SUFFIXES)
        if voxels is None and not path.name.lower().endswith(PAIR_SUFFIXES) and _has_more(path, magic):
            return NiftiFile(path, path)  # a single file marked as a pair, which ITK reads too
        if voxels is None:
            raise InputError(
                f"Expected the voxels of '{path}' beside it, in '{stem(path)}.img' or '{stem(path)}.img.gz', got none.",
                "Copy both files.",
            )
        return NiftiFile(path, voxels)
    header = beside(path, PAIR_SUFFIXES) if path.name.lower().endswith(VOXEL_SUFFIXES) else None
    return NiftiFile(header, path) if header is not None and _magic(header) in PAIR else None


def beside(path: Path, suffixes: tuple[str, ...]) -> Path | None:
    """Find the other file of a pair: of the same name with one of the suffixes, in lower or upper case."""
    places = [path.with_name(stem(path) + made) for suffix in suffixes for made in (suffix, suffix.upper())]
    return next((place for place in places if place.is_file()), None)


def is_loop(shape: Sequence[int]) -> bool:
    """Tell whether an image has several time points of one slice, by its extents, x first."""
    return len(shape) > 3 and shape[2] == 1 and shape[3] > 1 and all(extent <= 1 for extent in shape[4:])


def kind_of_values(header: nibabel.Nifti1Header) -> str:
    """Name the meaning of several values per voxel, by type and intent: colors, a vector, or the name of the intent."""
    intent = int(header["intent_code"])
    if header.get_data_dtype().names or intent in RGB_INTENTS:
        return "RGB-color"
    return VECTOR if intent in (0, VECTOR_INTENT) else str(header.get_intent()[0])


def is_packed(path: Path) -> bool:
    """Tell whether a file begins as gzip or bzip2 does."""
    return is_bzip2(path) or _begins(path, b"\x1f\x8b")


def is_bzip2(path: Path) -> bool:
    """Tell whether a file begins as bzip2 does."""
    return _begins(path, BZIP2)


def _begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


@contextmanager
def open_content(path: Path) -> Iterator[IO[bytes]]:
    """Open the content of a file, unpacking gzip and bzip2."""
    opened: Any = gzip.open if is_packed(path) else open
    if is_bzip2(path):
        import bz2  # some builds of Python lack it

        opened = bz2.open
    with opened(path, "rb") as content:
        yield content


def read_header(file: IO[bytes], path: Path) -> nibabel.Nifti1Header:
    """Read a header from the beginning of its file.

    Raises:
        InputError: the header is damaged.
    """
    nibabel = load_package("nibabel", "NIfTI")
    head = file.read(348)
    kind = nibabel.Nifti1Header
    if head[344:348] not in (SINGLE[0], PAIR[0]):
        head += file.read(540 - 348)
        kind = nibabel.Nifti2Header
    try:
        header = kind(head, check=False)
        if not 1 <= int(header["dim"][0]) <= 7 or header.get_data_dtype().itemsize == 0:
            raise ValueError("impossible dimensions or type")
    except (nibabel.spatialimages.HeaderDataError, KeyError, ValueError) as error:
        raise InputError(f"'{path}' has a damaged NIfTI header: {error}.", "Copy or export it again.") from error
    return header


def read_voxels(
    file: IO[bytes],
    header: nibabel.Nifti1Header,
    shape: tuple[int, ...],
    path: Path,
    notes: list[str],
    is_single: bool = False,
) -> np.ndarray:
    """Read the voxels (K, J, I), or (K, J, I, channels), of a file, scaled if the header has a valid scale.

    They begin at vox_offset. If that is within the header of a single file, they begin after the header and the four
    bytes that announce extensions (nifti1.h), or right after the header if the file is too short for these bytes.

    Args:
        shape: (I, J, K), or (I, J, K, channels).
        path: the file of the voxels.
        notes: receives notes for the user.
        is_single: whether the file also holds the header.

    Raises:
        InputError: the file is truncated or damaged.
    """
    kind = header.get_data_dtype()
    size, offset = kind.itemsize * math.prod(shape), int(header["vox_offset"])
    start = max(offset, header.template_dtype.itemsize if is_single else 0)
    factor = MAX_BZIP2 if is_bzip2(path) else MAX_COMPRESSION if is_packed(path) else 1
    data = b""
    try:
        if start + size <= path.stat().st_size * factor:
            file.seek(start)  # gzip skips in blocks: a hostile header may state any offset
            extension = file.read(4) if start > offset and is_single else b""
            data = file.read(size)
            if len(data) < size:
                data = (extension + data)[:size]
            file.read(1)  # checks the checksum at the end of a compressed file
    except EOFError:
        data = b""
    except (zlib.error, OSError) as error:
        if len(data) < size or "Not a gzipped file" not in str(error):
            problem = f"'{path}' is damaged: it cannot be unpacked ({error})."
            raise InputError(problem, "Copy or export it again.") from error
        notes.append("Bytes after the compressed content of the file were ignored, as in 3D Slicer.")
    if len(data) < size:
        raise InputError(f"'{path}' is truncated: voxels are missing at its end.", "Copy or export it again.")
    array = np.frombuffer(data, kind)
    if kind.names:  # RGB or RGBA
        array = array.view(np.uint8).reshape(len(kind.names), *shape, order="F")
        return np.moveaxis(array, 0, -1).transpose(2, 1, 0, 3)
    array = array.reshape(shape, order="F")
    array = array.transpose(2, 1, 0, *range(3, len(shape)))
    if not kind.isnative:
        array = array.astype(kind.newbyteorder("="))
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    slope, intercept = float(header["scl_slope"]), float(np.nan_to_num(header["scl_inter"], posinf=0, neginf=0))
    if not np.isfinite(slope) or slope == 0 or array.dtype.kind == "c" or (slope, intercept) == (1, 0):
        return array
    return (array * np.float64(slope) + intercept).astype(np.float32)  # in 64 bits, as ITK and nibabel


def find_analyze(path: Path) -> NiftiFile | None:
    """Find both files of an ANALYZE 7.5 image from either of them; None for other files.

    They are recognized by their names and the length with which the header begins. Call `find_nifti` first, because
    NIfTI pairs look alike.
    """
    is_header = path.name.lower().endswith(PAIR_SUFFIXES)
    if not is_header and not path.name.lower().endswith(VOXEL_SUFFIXES):
        return None
    other = beside(path, VOXEL_SUFFIXES if is_header else PAIR_SUFFIXES)
    if other is None:
        return None
    file = NiftiFile(path, other) if is_header else NiftiFile(other, path)
    head = _head(file.header)
    begin = head[:4] if len(head) == SIZE else b""
    return file if SIZE in (int.from_bytes(begin, "little"), int.from_bytes(begin, "big")) else None


def read_analyze(file: NiftiFile, notes: list[str]) -> np.ndarray:
    """Read the voxels (K, J, I), or (K, J, I, channels), of ANALYZE in their stored type; ITK would turn NaN to 0.

    Raises:
        InputError: the file is damaged or truncated.
    """
    head = _head(file.header)
    # The formats share the fields before the scale, and from cal_max to aux_file; the others are only NIfTI's.
    known = head[:112] + bytes(12) + head[124:252] + bytes(92) + PAIR[0]
    header = read_header(io.BytesIO(known), file.header)
    shape = [int(extent) for extent in header["dim"][1 : 1 + int(header["dim"][0])]]
    with open_content(file.voxels) as content:
        return read_voxels(content, header, tuple((shape + [1, 1, 1])[:3]), file.voxels, notes)


def _head(path: Path) -> bytes:
    try:
        with open_content(path) as file:
            return file.read(SIZE)
    except (OSError, EOFError, zlib.error):
        return b""


def _magic(path: Path) -> bytes:
    head = _head(path)
    return next((magic for magic in (head[344:348], head[4:8]) if magic in SINGLE + PAIR), b"")


def _has_more(path: Path, magic: bytes) -> bool:
    """Tell whether a file holds more than a header."""
    size = 348 if magic == PAIR[0] else 540
    with open_content(path) as file:
        return len(file.read(size + 1)) > size
