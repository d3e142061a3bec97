"""NRRD headers: what they state on axes and space but ITK ignores.

ITK reads as many spatial axes as the space has, and all others as values of a voxel. See "space and orientation
information" in the format's definition: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.geometry import UNPLACED_NOTE

MAX_HEADER = 1 << 22
DATA_FILE = ("data file", "datafile")
OF_SPACE = ("domain", "space", "time", "???", "none")
"""Kinds of axes that ITK treats as spatial, as it does axes without a kind."""
ONE_VALUE = (
    "python -c \"import SimpleITK as s; s.WriteImage(s.VectorIndexSelectionCast(s.ReadImage('{name}'), 0), "
    "'one.nii.gz')\""
)
"""Command that saves the first of several values per voxel, as for a sequence of 3D Slicer."""
TURNED = ("right-anterior-superior-time", "rast", "left-anterior-superior-time", "last")
"""Spaces that ITK wrongly reads as left, posterior and superior; without time, it converts them correctly."""
ANATOMICAL = re.compile("((left|right)-(anterior|posterior)-superior|ras|las|lps)(-?t(ime)?)?")
OTHER_LENGTHS = re.compile("((centi|micro)?met(er|re)|micron|inch)(s|es)?|m|dm|cm|um|nm|in")
"""Units of length other than millimeters; "\u00b5m" is matched as "m", after other characters are removed."""


def is_nrrd(path: Path) -> bool:
    """Tell whether a file begins as NRRD does."""
    with path.open("rb") as file:
        return file.read(4) == b"NRRD"


def read_header(path: Path) -> tuple[str, int]:
    """Return the header of an NRRD file, and the offset of what follows it; "" for other files."""
    if not is_nrrd(path):
        return "", 0
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    return head[: end.start() if end else None].decode("latin-1"), end.end() if end else len(head)


def read_fields(header: str) -> dict[str, str]:
    """Return the fields of a header by lower-case name; a list of files becomes `LIST` and one file name per line."""
    fields = {}
    lines = header.split("\n")
    for number, line in enumerate(lines):
        key, separator, value = line.partition(":")
        if not separator or value.startswith("=") or line.startswith("#"):
            continue
        key, value = key.strip().lower(), value.strip()
        fields[key] = value
        if key in DATA_FILE and value.startswith("LIST"):  # the list ends the header
            fields[key] = "\n".join([value, *(name.strip() for name in lines[number + 1 :] if name.strip())])
            break
    return fields


def file_name(value: str) -> str:
    """Return a file name from a header, which is read as Latin-1, in the encoding of the system."""
    return os.fsdecode(value.encode("latin-1"))


def check_axes(fields: Mapping[str, str], path: Path) -> None:
    """Refuse axes that ITK cannot read: several volumes in one file, or fewer axes than the space has.

    Raises:
        InputError: the axes are refused; the message says what to write in the header.
    """
    kinds, extents, without_place = _axes(fields)
    several = [extent for extent in without_place if extent > 1]
    if several or (without_place and set(DATA_FILE) & fields.keys()):
        size = " x ".join(map(str, extents))
        what = f"is {len(extents)}-D ({size}), not a single volume" if several else "has an axis without a direction"
        raise InputError(
            f"'{path}' {what}.",
            f"Write 'kinds: {kinds}' in its header"
            + (f", and save one volume, for example: {ONE_VALUE.format(name=path.name)}" if several else "."),
        )
    directions = _directions(fields)
    if directions and "none" not in directions and len(directions) < directions[0].count(",") + 1:
        raise InputError(
            f"'{path}' has {len(directions)} axes in a space of {directions[0].count(',') + 1}, which is unsupported.",
            "Save it with as many axes, the last ones of size 1.",
        )


@contextmanager
def with_kinds(path: Path) -> Iterator[Path]:
    """Yield a temporary copy whose header marks an axis of size 1 as non-spatial, if it lacks this; else the file."""
    header, start = read_header(path)
    kinds, _, without_place = _axes(read_fields(header))
    if not without_place:
        yield path
        return
    lines = [line for line in header.split("\n") if not line.lower().startswith("kinds:")]
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as folder:
        made = Path(folder, "image.nrrd")
        with path.open("rb") as file, made.open("wb") as copy:
            file.seek(start)
            copy.write("\n".join([*lines, f"kinds: {kinds}", "", ""]).encode("latin-1"))
            shutil.copyfileobj(file, copy)
        yield made


def _axes(fields: Mapping[str, str]) -> tuple[str, list[int], list[int]]:
    """Return the kinds that a header should state, the extents of all axes, and of non-spatial axes not marked so."""
    directions, kinds = _directions(fields), fields.get("kinds", "").lower().split()
    extents = [int(extent) for extent in fields.get("sizes", "").split() if extent.isdigit()]
    if set(directions) == {"none"}:  # no axis has a direction
        return "", extents, []
    if "none" not in directions or len(extents) != len(directions) or len(kinds) not in (0, len(extents)):
        return "", extents, []
    kinds = kinds or ["domain"] * len(extents)
    unsaid = [place == "none" and kind in OF_SPACE for place, kind in zip(directions, kinds)]
    said = " ".join("list" if lacks else kind for lacks, kind in zip(unsaid, kinds))
    return said, extents, [extent for extent, lacks in zip(extents, unsaid) if lacks]


def _directions(fields: Mapping[str, str]) -> list[str]:
    return re.findall(r"none|\([^)]*\)", fields.get("space directions", "").lower())


def check_space(fields: Mapping[str, str], path: Path, notes: list[str]) -> None:
    """Refuse a space that would be read as another, and add notes on what a header does not state.

    Args:
        fields: fields of the header by lower-case name.

    Raises:
        InputError: ITK would read the axes of the space as others, or its unit is not the millimeter.
    """
    space = fields.get("space", "").lower()
    if space in TURNED:
        raise InputError(
            f"Expected a space of three axes in '{path}', got '{space}', which would be read as another one.",
            f"Save it as 3-D, with 'dimension: 3' and 'space: {_without_time(space)}' in its header.",
        )
    check_units([*_words(fields.get("space units", ""))[:3], *_words(fields.get("units", ""))], path)
    if not {"spacings", "space directions"} & fields.keys():
        notes.append(
            "The file gives its voxel sizes only by 'axis mins' and 'axis maxs', which 3D Slicer does not read: "
            "1 mm was assumed, as there."
            if {key.replace(" ", "") for key in fields} >= {"axismins", "axismaxs"}
            else "The file does not say how large its voxels are: 1 mm was assumed."
        )
    if not ANATOMICAL.fullmatch(space) and _count_axes(fields) > 2:
        notes.append(UNPLACED_NOTE)


def check_units(units: Sequence[str], path: Path) -> None:
    """Refuse units of length other than millimeters, which ITK and 3D Slicer would take to be millimeters.

    Raises:
        InputError: there is another unit; the message names it.
    """
    for unit in units:
        if OTHER_LENGTHS.fullmatch(re.sub("[^a-z]", "", unit.lower())):
            raise InputError(
                f"Expected millimeters in '{path}', got the unit '{unit}'.",
                "Convert the distances in its header to millimeters, which 3D Slicer assumes, and correct the unit.",
            )


def _without_time(space: str) -> str:
    return space.removesuffix("-time") if "-" in space else space[:3].upper()


def _words(value: str) -> list[str]:
    """Return the quoted words of a list of units; headers are read as Latin-1."""
    return [word.encode("latin-1").decode("utf-8", "replace") for word in re.findall('"([^"]*)"', value)]


def _count_axes(fields: Mapping[str, str]) -> int:
    """Count the spatial axes: those that are not colors or the like."""
    kinds = fields.get("kinds", "").lower().split()
    dimension = int(fields["dimension"]) if fields.get("dimension", "").isdigit() else 0
    return sum(kind in ("domain", "space", "???", "none") for kind in kinds) if kinds else dimension
