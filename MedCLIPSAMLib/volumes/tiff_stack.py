"""Which images the pages of a TIFF file are: slices, times or channels, as ImageJ, OME and tifffile describe them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from MedCLIPSAMLib.errors import InputError

IMAGEJ = (("frames", "times"), ("slices", "slices"), ("channels", "channels"))
"""The fields of ImageJ in the order of its axes, and what they count."""
NAMES = {"Z": "slices", "T": "times", "C": "channels"}
OTHER = "images"
SECONDARY = 1 | 4
"""Of NewSubfileType: a smaller image of another page, and a mask of one (TIFF 6.0, section 8)."""
SECONDARY_NOTE = "{count} pages that are thumbnails or masks of others were left out."


def check_axes(description: str, size: tuple[int, int], samples: int, pages: int, path: Path, notes: list[str]) -> int:
    """Return how many images a file describes; one where it says nothing. Refuse times or channels of several slices.

    Args:
        description: the text of its first page (ImageDescription).
        size: width and height of a page.
        samples: values per pixel.
        pages: how many the file has.
        notes: filled where the images are no slices, or are not all there.

    Raises:
        InputError: two or more axes beside width and height.
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
        notes.append(f"The file describes {total} images, and holds {pages}.")
    return total


def _axes(description: str, size: tuple[int, int], samples: int) -> list[tuple[str, int]]:
    """Return the axes beside those of a page, outermost first: what they count, and how many there are."""
    if description.startswith("ImageJ="):
        fields = {key: int(value) for key, value in re.findall(r"^(\w+)=(\d+)\s*$", description, re.MULTILINE)}
        axes = [(name, fields.get(field, 1)) for field, name in IMAGEJ]
        images = fields.get("images", 1)
        return axes if math.prod(count for _, count in axes) == images else [(NAMES["Z"], images)]
    if description.startswith('{"shape"'):
        return _of_tifffile(description, size[0] * size[1] * samples)
    pixels = re.findall(r"<(?:\w+:)?Pixels\s[^>]*>", description)
    if len(pixels) != 1:  # several images, each with pages of its own
        return []
    told = dict(re.findall(r'\b(Size[ZTC]|DimensionOrder)\s*=\s*"(\w+)"', pixels[0]))
    order = [letter for letter in reversed(told.get("DimensionOrder", "XYZCT")) if letter in NAMES]
    counts = {letter: int(told.get(f"Size{letter}", 1)) for letter in order}
    if samples > 1 and counts.get("C", 1) % samples == 0:  # which counts red, green and blue
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
