"""Headers of NRRD and MetaImage files, checked before ITK reads them.

They may name any file as their voxels, and directions on which ITK's computation never ends.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.nrrd_axes import check_axes
from MedCLIPSAMLib.volumes.nrrd_space import check_space, refuse_unit

MAX_HEADER = 1 << 22
META_NUMBERS = "TransformMatrix|Rotation|Orientation|Offset|Position|Origin|ElementSpacing"
META_LENGTHS = ("um", "cm")
"""The units of MetaImage that are no millimeters."""
BZIP2 = ("bzip2", "bz2")
MAX_DIMENSIONS = 5
MAX_NUMBER = 1e9
"""Maximum of a direction, a position or a spacing, in millimeters."""


JPEG_2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""The beginnings of a file of JPEG 2000 (ISO/IEC 15444-1, annexes I and A): with boxes, and without."""


def check_header(path: Path, notes: list[str]) -> None:
    """Refuse a header that names files outside its folder, more than five dimensions, or absurd directions.

    JPEG 2000 is refused too: ITK reads it, but as RGB of 8 bits, and with a size in millimeters that it does not have.

    Args:
        notes: filled with what a header of NRRD does not say.

    Raises:
        InputError: naming what is wrong.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    if head.startswith(JPEG_2000):
        raise InputError(
            f"'{path}' is a JPEG 2000 image, which is not read.",
            'Save it as PNG, for example: python -c "from PIL import Image; '
            f"Image.open('{path.name}').save('image.png')\"",
        )
    if head.startswith(b"NRRD"):
        _check_nrrd(re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0].decode("latin-1"), path, notes)
    elif path.suffix.lower() in (".mha", ".mhd"):
        _check_meta(head, path)


def _check_nrrd(header: str, path: Path, notes: list[str]) -> None:
    lines = header.splitlines()
    fields: dict[str, str] = {}
    for number, line in enumerate(lines):
        key, separator, value = line.partition(":")
        if not separator or value.startswith("=") or line.startswith("#"):
            continue
        key, value = key.strip().lower(), value.strip()
        fields[key] = value
        if key == "dimension":
            _check_dimension(value, path)
        elif key == "encoding" and value.lower() in BZIP2:
            raise InputError(
                f"'{path}' is NRRD compressed by bzip2, which is not read.", "Save it with 'encoding: gzip'."
            )
        elif key in ("space directions", "space origin", "spacings"):
            _check_numbers(key, value, path)
        elif key in ("data file", "datafile"):
            if value.upper().startswith("LIST"):
                names = [line.strip() for line in lines[number + 1 :] if line.strip()]
            else:
                names = [value]
            _check_names(names, path)
    check_space(fields, path, notes)
    check_axes(fields, path)


def _check_meta(head: bytes, path: Path) -> None:
    text = head.decode("latin-1")
    extents: list[str] = []
    skipped = ""
    named = rf"(NDims|DimSize|HeaderSize|BinaryData|DistanceUnits|ElementDataFile|{META_NUMBERS})"
    for match in re.finditer(rf"^[ \t]*{named}[ \t]*[=:][ \t]*([^\r\n]*)", text, re.MULTILINE):
        key, value = match[1], match[2].strip()
        if re.fullmatch(META_NUMBERS, key):
            _check_numbers(key, value, path)
            continue
        if key == "DistanceUnits":
            if value.lower() in META_LENGTHS:
                refuse_unit(value, path)
            continue
        if key == "NDims":
            _check_dimension(value, path)
            continue
        if key == "DimSize":
            extents = value.split()
            continue
        if key == "HeaderSize":
            skipped = value
            continue
        if key == "BinaryData":
            if value[:1].lower() in ("f", "0"):
                raise InputError(
                    f"'{path}' holds its voxels as text (BinaryData = {value}), which is not read.",
                    "Save it as binary, with 'BinaryData = True'.",
                )
            continue
        if value.upper().startswith("LIST"):
            _check_names([line.strip() for line in text[match.end() :].splitlines() if line.strip()], path)
        elif value.upper() == "LOCAL":
            if skipped.isdigit() and 0 < int(skipped) <= match.end():
                raise InputError(
                    f"'{path}' says that its voxels begin at byte {skipped} (HeaderSize), which is in its header.",
                    "Leave HeaderSize out of it.",
                )
        else:
            _check_names([value], path)
            _check_count(value, extents, path)
        return  # voxels follow


def _check_numbers(key: str, value: str, path: Path) -> None:
    """Refuse numbers that are not finite or far too large; ITK's singular value decomposition may not end on them."""
    for text in re.split(r"[\s,()]+", value):
        try:
            number = float(text)
        except ValueError:  # "none" of NRRD, or what ITK refuses itself
            continue
        if key == "spacings" and math.isnan(number):  # an axis that is none of space
            continue
        if not math.isfinite(number) or abs(number) > MAX_NUMBER:
            raise InputError(
                f"'{path}': expected finite numbers up to {MAX_NUMBER:g} as {key}, got {text[:40]}.",
                "Correct the header, or leave the image out.",
            )


def _check_dimension(value: str, path: Path) -> None:
    if not value.isdigit() or not 1 <= int(value) <= MAX_DIMENSIONS:
        raise InputError(f"'{path}' is {value[:20]}-D, not a single volume.", "Save one volume of it.")


def _check_count(pattern: str, extents: list[str], path: Path) -> None:
    """Refuse a pattern of fewer files than slices: ITK makes the others of what lies in memory."""
    match = re.search(r"\s(-?\d+)\s+(-?\d+)(?:\s+([1-9]\d*))?(?:\s+\d+)?$", pattern) if "%" in pattern else None
    if match is None or not extents or not extents[-1].isdigit():
        return
    count = (int(match[2]) - int(match[1])) // int(match[3] or 1) + 1
    if count < int(extents[-1]):
        raise InputError(f"Expected {extents[-1]} files of slices of '{path}', got {count}.", "Correct its header.")


def _check_names(names: list[str], path: Path) -> None:
    for name in names:
        pattern = re.fullmatch(r"([^%]*)%0?\d{0,2}d([^%]*?)((?:\s+-?\d+){2,4})", name)
        plain = (f"{pattern[1]}0{pattern[2]}" if pattern else name).removeprefix("./")
        if not plain or "/" in plain or "\\" in plain or "%" in plain or plain in (".", "..") or ":" in plain:
            raise InputError(
                f"'{path}' names '{name[:200]}' as the file of its voxels: expected a plain name of a file beside it.",
                "Do not use it, or put the voxels beside it and correct the header.",
            )
