"""What the header of an NRRD file says of the space that its voxels lie in, where ITK takes no notice of it.

See "space and orientation information" of the format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.geometry import UNPLACED_NOTE

TURNED = ("right-anterior-superior-time", "rast", "left-anterior-superior-time", "last")
"""Spaces that ITK takes for left, posterior and superior, though they are not; without the time it turns them."""
ANATOMICAL = re.compile("((left|right)-(anterior|posterior)-superior|ras|las|lps)(-?t(ime)?)?")
OTHER_LENGTHS = re.compile("((centi|micro)?met(er|re)|micron|inch)(s|es)?|m|dm|cm|um|nm|in")
"""Units of length that are no millimeters; what is left of "\u00b5m" is an m."""


def check_space(fields: Mapping[str, str], path: Path, notes: list[str]) -> None:
    """Refuse a space that would be read as another, and note what a header does not say.

    Args:
        fields: of the header, by their names in small letters.

    Raises:
        InputError: the axes of the space are others than those that ITK takes, or its unit is not the millimeter.
    """
    space = fields.get("space", "").lower()
    if space in TURNED:
        raise InputError(
            f"Expected a space of three axes in '{path}', got '{space}', which is read as another one.",
            f"Save it as 3-D, with 'dimension: 3' and 'space: {_without_time(space)}' in its header.",
        )
    check_units([*_words(fields.get("space units", ""))[:3], *_words(fields.get("units", ""))], path)
    if not {"spacings", "space directions"} & fields.keys():
        notes.append(
            "The file says how large its voxels are by 'axis mins' and 'axis maxs' alone, which 3D Slicer does not "
            "read: they are taken for 1 mm, as there."
            if {key.replace(" ", "") for key in fields} >= {"axismins", "axismaxs"}
            else "The file does not say how large its voxels are: they are taken for 1 mm."
        )
    if not ANATOMICAL.fullmatch(space) and _axes(fields) > 2:
        notes.append(UNPLACED_NOTE)


def check_units(units: Sequence[str], path: Path) -> None:
    """Refuse lengths that are no millimeters: ITK and 3D Slicer take them for such.

    Raises:
        InputError: naming the unit.
    """
    for unit in units:
        if OTHER_LENGTHS.fullmatch(re.sub("[^a-z]", "", unit.lower())):
            raise InputError(
                f"Expected millimeters in '{path}', got the unit '{unit}'.",
                "Write the distances and the unit of its header in millimeters, which 3D Slicer takes them for.",
            )


def _without_time(space: str) -> str:
    return space.removesuffix("-time") if "-" in space else space[:3].upper()


def _words(value: str) -> list[str]:
    """Return the words of a list of units, which are in quotes; headers are read as Latin-1."""
    return [word.encode("latin-1").decode("utf-8", "replace") for word in re.findall('"([^"]*)"', value)]


def _axes(fields: Mapping[str, str]) -> int:
    """Count the axes in space: those that are no colors or the like."""
    kinds = fields.get("kinds", "").lower().split()
    dimension = int(fields["dimension"]) if fields.get("dimension", "").isdigit() else 0
    return sum(kind in ("domain", "space", "???", "none") for kind in kinds) if kinds else dimension
