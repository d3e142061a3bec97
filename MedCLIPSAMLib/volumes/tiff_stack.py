"""Meaning of the pages of a TIFF file: slices, time points or channels, as ImageJ, OME and tifffile describe them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from MedCLIPSAMLib.errors import InputError

IMAGEJ = (("frames", "time points"), ("slices", "slices"), ("channels", "channels"))
"""ImageJ's fields in the order of its axes, and what they count."""
NAMES = {"Z": "slices", "T": "time points", "C": "channels"}
OTHER = "images"
SECONDARY = 1 | 4
"""Flags of NewSubfileType: a smaller version of another page, and a mask of one (TIFF 6.0, section 8)."""
SECONDARY_NOTE = "{count} pages that are thumbnails or masks of others were left out."


def check_axes(description: str, size: tuple[int, int], samples: int, pages: int, path: Path, notes: list[str]) -> int:
    """Return the number of images that a file describes; 1 if it does not describe them.

    Args:
        description: text of the first page (ImageDescription).
        size: width and height of a page.
        samples: values per pixel.
        pages: number of pages in the file.
        path: the file, for messages.
        notes: receives a note if the images are not slices, or are incomplete.

    Raises:
        InputError: there are two or more axes beside width and height, such as time points of several slices.
    """
    axes = _axes(description, size, samples)
    long = [(name, count) for name, count in axes if count > 1]
    total = math.prod(count for _, count in axes)
    if len(long) > 1:
        kept = next((number for number, (name, _) in enumerate(long) if name == NAMES["Z"]), len(long) - 1)
        index = ", ".join(":" if number == kept else "0" for number in range(len(long)))
        kind = ", photometric='minisblack'" if samples == 1 else ""
        raise InputError(
            f"'{path}' is {len(long) + 2}-D ({' x '.join(f'{count} {name}' for name, count in long)}), not a single "
            "volume.",
            f"Save one of them, for example: python -c \"import tifffile as t; t.imwrite('one.tif', "
            f"t.imread('{path.name}')[{index}]{kind}, metadata=None)\"",
        )
    if long and long[0][0] in (NAMES["T"], NAMES["C"]):
        notes.append(f"Its images are {long[0][0]}, as the file says: they are shown as slices.")
    if pages > 1 and total > pages:
        notes.append(f"The file describes {total} images but holds {pages}.")
    return total


def _axes(description: str, size: tuple[int, int], samples: int) -> list[tuple[str, int]]:
    """Return what each axis beside those of a page counts, and its length, outermost axis first."""
    if description.startswith("ImageJ="):
        fields = {key: int(value) for key, value in re.findall(r"^(\w+)=(\d+)\s*$", description, re.MULTILINE)}
        axes = [(name, fields.get(field, 1)) for field, name in IMAGEJ]
        images = fields.get("images", 1)
        return axes if math.prod(count for _, count in axes) == images else [(NAMES["Z"], images)]
    if description.startswith('{"shape"'):
        return _of_tifffile(description, size[0] * size[1] * samples)
    pixels = re.findall(r"<(?:\w+:)?Pixels\s[^>]*>", description)
    if len(pixels) != 1:  # several images, each with its own pages
        return []
    told = dict(re.findall(r'\b(Size[ZTC]|DimensionOrder)\s*=\s*"(\w+)"', pixels[0]))
    order = [letter for letter in reversed(told.get("DimensionOrder", "XYZCT")) if letter in NAMES]
    counts = {letter: int(told.get(f"Size{letter}", 1)) for letter in order}
    if samples > 1 and counts.get("C", 1) % samples == 0:  # OME counts red, green and blue
        counts["C"] //= samples
    return [(NAMES[letter], counts[letter]) for letter in order]


def _of_tifffile(description: str, page: int) -> list[tuple[str, int]]:
    try:
        told = json.loads(description)
        shape = [int(extent) for extent in told["shape"]]
    except (ValueError, KeyError, TypeError):
        return []
    letters = str(told.get("axes", "")).ljust(len(shape))
    for count in range(len(shape)):
        if math.prod(shape[count:]) == page:
            return [(NAMES.get(letters[number], OTHER), shape[number]) for number in range(count)]
    return []
