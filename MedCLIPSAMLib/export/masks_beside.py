"""Find the image files of a folder tree that are no images to segment: masks, overlays and maps beside them.

A file is one where this program wrote it as a result; where its name is that of another image and a word such as
"_mask"; where it lies in a folder such as "masks" and bears the name of an image elsewhere; or where it is an image of
a few values beside an image of the same name.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..volumes.mark import is_marked
from ..volumes.suffixes import RASTER_SUFFIXES
from ..volumes.volume import stem

WORDS = (
    *("annotation", "annotations", "contour", "contours", "gt", "groundtruth", "ground-truth", "ground_truth", "truth"),
    *("label", "labels", "labelmap", "mask", "masks", "seg", "segmentation", "segmentations"),
    *("overlay", "overlays", "saliency", "uncertainty"),
)
FOLDERS = (*WORDS, "labelstr", "labelsts", "annots")
FEW_VALUES = 4
SIGNS = " .-_"
_WORD = "|".join(map(re.escape, WORDS))
_AFTER = re.compile(rf"(.+?)[ ._-]({_WORD})([ ._-]?\d+)?", re.IGNORECASE)
_BEFORE = re.compile(rf"({_WORD})[ ._-](.+)", re.IGNORECASE)


def masks_among(files: Sequence[Path], others: Sequence[Path] = ()) -> set[Path]:
    """Find the files that are no images to segment.

    Args:
        files: image files.
        others: files and folders that are images, or masks, of other kinds: DICOM, segmentations.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in (*files, *others):
        by_folder.setdefault(path.parent, []).append(stem(path).lower())
    beside = {folder: _Names(names) for folder, names in by_folder.items()}
    elsewhere = {_image_name(stem(path).lower()) for path in files if not _in_mask_folder(path)}
    found = set()
    for path in files:
        name = stem(path).lower()
        base = _without_word(name)
        if (
            (base is not None and beside[path.parent].know(base))
            or (_in_mask_folder(path) and {name, base} & elsewhere)
            or is_marked(path)
            or (beside[path.parent].count[name] > 1 and _has_few_values(path))
        ):
            found.add(path)
    return found


class _Names:
    """The names in a folder: "case1" is known where there is case1, case1_0000, or an image such as case1_t1."""

    def __init__(self, names: Sequence[str]) -> None:
        self.count = Counter(names)
        self._images = sorted({name for name in names if _without_word(name) is None})

    def know(self, base: str) -> bool:
        """Tell whether an image of that name, or of one that continues after a separator, exists."""
        if self.count[base] or self.count[f"{base}_0000"]:
            return True
        beginnings = (self._images[at : at + 1] for at in (bisect_left(self._images, base + sign) for sign in SIGNS))
        return any(name and name[0].startswith(base + sign) for name, sign in zip(beginnings, SIGNS))


def _without_word(name: str) -> str | None:
    """Return the name of the image in a name such as "case1_mask"; None for other names."""
    match = _AFTER.fullmatch(name)
    if match:
        return match[1]
    match = _BEFORE.fullmatch(name)
    return match[2] if match else None


def _in_mask_folder(path: Path) -> bool:
    return path.parent.name.lower() in FOLDERS


def _image_name(name: str) -> str:
    """Return a name without nnU-Net's number of the channel."""
    return name.removesuffix("_0000")


def _has_few_values(path: Path) -> bool:
    """Tell whether an image file holds a mask."""
    if path.suffix.lower() not in RASTER_SUFFIXES:
        return False
    try:
        with Image.open(path) as image:
            return np.unique(np.asarray(image)).size <= FEW_VALUES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
