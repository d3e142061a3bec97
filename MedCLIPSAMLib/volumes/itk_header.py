"""Validation of NRRD and MetaImage headers before ITK reads them.

They may refer to any file for their voxels, or have directions on which ITK's computation never ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.meta_image import is_compressed, is_meta_image, read_header
from MedCLIPSAMLib.volumes.nrrd import DATA_FILE, check_axes, check_space, check_units, file_name, read_fields
from MedCLIPSAMLib.volumes.nrrd import read_header as read_nrrd_header

META_NUMBERS = ("TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin", "ElementSpacing")
BZIP2 = ("bzip2", "bz2")
MAX_DIMENSIONS = 5
MAX_NUMBER = 1e9
"""Maximum absolute value of a direction, position or spacing, in mm."""


JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""Beginnings of JPEG 2000 files (ISO/IEC 15444-1, annexes I and A): with boxes, and without."""


def check_header(path: Path, notes: list[str]) -> str:
    """Refuse a header that names files outside its folder, more than five dimensions, or absurd directions.

    JPEG 2000 is refused too, because ITK reads it as 8-bit RGB with a pixel size in mm that it does not have.

    Args:
        notes: receives notes on what an NRRD header does not state.

    Returns:
        The format: "NRRD", "MetaImage", or "" for any other.

    Raises:
        InputError: the file is refused; the message says why.
    """
    with path.open("rb") as file:
        is_jpeg_2000 = file.read(12).startswith(JPEG_2000)
    if is_jpeg_2000:
        raise InputError(
            f"'{path}' is a JPEG 2000 image, which is not supported.",
            'Save it as PNG, for example: python -c "from PIL import Image; '
            f"Image.open('{path.name}').save('image.png')\"",
        )
    if header := read_nrrd_header(path)[0]:
        fields = read_fields(header)
        _check_nrrd(fields, path)
        check_space(fields, path, notes)
        check_axes(fields, path)
        return "NRRD"
    if is_meta_image(path):
        _check_meta(path)
        return "MetaImage"
    return ""


def rest_notes(path: Path, size: int) -> list[str]:
    """Make a note if a file of plain voxels holds more than its header declares; at most one sentence.

    Args:
        path: a header that has been checked.
        size: bytes of the voxels.
    """
    nrrd = read_fields(read_nrrd_header(path)[0])
    meta = {key: value for key, value, _ in read_header(path)[0]}
    skips = {"byte skip", "byteskip", "line skip", "lineskip", "HeaderSize"} & {*nrrd, *meta}
    source = next((nrrd[key] for key in DATA_FILE if key in nrrd), meta.get("ElementDataFile", "LOCAL"))
    if source.upper() == "LOCAL":  # in the file itself
        return []
    voxels = path.parent / file_name(source)
    is_packed = is_compressed(meta) or nrrd.get("encoding", "raw").lower() != "raw"
    if skips or is_packed or not voxels.is_file() or voxels.stat().st_size <= size:
        return []
    return [
        f"The file of its voxels holds {voxels.stat().st_size - size} bytes more than the header declares: the first "
        "ones are used, as in 3D Slicer. If the image looks shifted, the header has a wrong size or lacks an offset."
    ]


def _check_nrrd(fields: Mapping[str, str], path: Path) -> None:
    if "dimension" in fields:
        _check_dimension(fields["dimension"], path)
    if fields.get("encoding", "").lower() in BZIP2:
        raise InputError(
            f"'{path}' is NRRD compressed by bzip2, which is not supported.", "Save it with 'encoding: gzip'."
        )
    for key in ("space directions", "space origin", "spacings"):
        _check_numbers(key, fields.get(key, ""), path)
    for key in DATA_FILE:
        if key in fields:
            first, *names = fields[key].split("\n")
            _check_names(names if first.startswith("LIST") else [first], path)


def _check_meta(path: Path) -> None:
    lines, start = read_header(path)
    fields = {key: value for key, value, _ in lines}
    for key, value, _ in lines:
        if key in META_NUMBERS:
            _check_numbers(key, value, path)
        elif key == "NDims":
            _check_dimension(value, path)
    check_units([fields.get("DistanceUnits", "")], path)
    if (binary := fields.get("BinaryData", ""))[:1].lower() in ("f", "0"):
        raise InputError(
            f"'{path}' holds its voxels as text (BinaryData = {binary}), which is not supported.",
            "Save it as binary, with 'BinaryData = True'.",
        )
    source, skipped = fields.get("ElementDataFile"), fields.get("HeaderSize", "")
    if source is None:  # ITK does not recognize such a file as MetaImage
        return
    if source.upper() != "LOCAL":
        _check_files(source, is_compressed(fields), fields.get("DimSize", "").split(), path)
    elif skipped.isdigit() and 0 < int(skipped) <= start:
        raise InputError(
            f"'{path}' says that its voxels begin at byte {skipped} (HeaderSize), which is within the header.",
            "Remove HeaderSize from it.",
        )


def _check_numbers(key: str, value: str, path: Path) -> None:
    """Refuse numbers that are not finite or far too large; ITK's singular value decomposition may not end on them."""
    for text in re.split(r"[\s,()]+", value):
        try:
            number = float(text)
        except ValueError:  # "none" in NRRD, or what ITK itself refuses
            continue
        if key == "spacings" and math.isnan(number):  # an axis that is not spatial
            continue
        if not math.isfinite(number) or abs(number) > MAX_NUMBER:
            raise InputError(
                f"'{path}': expected finite numbers up to {MAX_NUMBER:g} as {key}, got {text[:40]}.",
                "Correct the header, or leave the image out.",
            )


def _check_dimension(value: str, path: Path) -> None:
    if not value.isdigit() or not 1 <= int(value) <= MAX_DIMENSIONS:
        raise InputError(f"'{path}' is {value[:20]}-D, not a single volume.", "Save one volume of it.")


def _check_files(source: str, compressed: bool, extents: list[str], path: Path) -> None:
    """Refuse fewer files than slices, or other than one per slice, for which ITK returns uninitialized memory."""
    first, *names = source.split("\n")
    is_list = first.startswith("LIST")
    _check_names(names if is_list else [first], path)
    numbers = [int(number) for number in first.partition("%")[2].split()[1:]]
    if not is_list and not numbers:
        return
    if compressed:
        raise InputError(
            f"Expected compressed voxels of '{path}' in one file beside it, got '{first}'.",
            "Save the image as one file, or without compression.",
        )
    low, high, step = (*numbers, 1)[:3] if numbers else (1, len(names), 1)
    count = (high - low) // step + 1 if step > 0 else 0
    if extents and extents[-1].isdigit() and count < int(extents[-1]):
        raise InputError(f"Expected {extents[-1]} files of slices of '{path}', got {count}.", "Correct its header.")
    slices = rf"LIST(\s+{len(extents) - 1}[dD]?)?"  # with the dimension of each file, as in LIST 2D
    if (numbers and len(numbers) != 3) or (is_list and not re.fullmatch(slices, first)):
        raise InputError(
            f"'{path}' names its voxel files by '{first}', which is not supported.",
            "Write 'LIST' and one name per line, or a name with %d, first, last and step, such as 's%d.raw 0 3 1'.",
        )


def _check_names(names: list[str], path: Path) -> None:
    for name in map(file_name, names):
        pattern = re.fullmatch(r"([^%]*)%0?\d{0,2}d([^%]*?)((?:\s+-?\d+){2,4})", name)
        plain = (f"{pattern[1]}0{pattern[2]}" if pattern else name).removeprefix("./")
        if not plain or "/" in plain or "\\" in plain or "%" in plain or plain in (".", "..") or ":" in plain:
            raise InputError(
                f"'{path}' names '{name[:200]}' as the file of its voxels: expected a plain name of a file beside it.",
                "Do not use it, or put the voxels beside it and correct the header.",
            )
        if pattern is None and not (path.parent / plain).is_file():
            raise InputError(
                f"Expected voxels of '{path}' in the file '{plain}' beside it, got none.", "Copy that file too."
            )
