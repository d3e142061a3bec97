"""A set of real images for training and measurement: a folder with images/, masks/ and index.csv.

    DATA/breast_us_busbra/index.csv         image,patient,split,...
    DATA/breast_us_busbra/images/NAME.jpg   gray, upright
    DATA/breast_us_busbra/masks/NAME.png    above 127 inside, of the same size

Reading needs only Pillow and NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..files.csv_text import read_table

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test", "gap": "gap"}
"""Splits by their names in index.csv; images in "gap" lie between two splits and are not used."""
_UNREADABLE = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)


class UnusableImageError(InputError):
    """An image or mask that cannot be decoded, or a pair that does not match; callers leave it out and list it."""


def read_index(folder: Path, group: str = "patient", more: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read the rows of a set's index.csv, with splits renamed by `SPLITS`.

    Args:
        group: the column of the patient, or a substitute; no group may be in two splits.
        more: columns that are needed besides image, `group` and split.

    Raises:
        InputError: see `csv_text.read_table`; or the table has no rows or lacks a column; or a split is unknown, an
            image is not a file name or would share its mask with another, or a group is in two splits.
    """
    path = folder / "index.csv"
    needed = ["image", group, "split", *more]
    rows = read_table(path)
    columns = rows[0][1].keys() if rows else ()
    if any(column not in columns for column in needed):
        raise InputError(f"Expected the columns {', '.join(needed)} in '{path}', got {', '.join(columns) or 'none'}.")
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for line, row in rows:
        where = f"in line {line} of '{path}'"
        if row["split"] not in SPLITS:
            raise InputError(f"Expected one of {', '.join(SPLITS)} as split {where}, got '{row['split']}'.")
        if Path(row["image"]).name != row["image"] or "\\" in row["image"] or row["image"] in ("", ".", ".."):
            raise InputError(f"Expected the name of a file in images {where}, got '{row['image']}'.")
        mask = mask_path(folder, row["image"]).name
        if mask in seen:
            raise InputError(
                f"Expected every image once, got '{row['image']}' again {where}.",
                "Images whose names differ only in the extension would share a mask: rename one.",
            )
        seen.add(mask)
        row["split"] = split = SPLITS[row["split"]]
        if split != "gap" and split_of.setdefault(row[group], split) != split:
            raise InputError(
                f"Expected every {group} in one split, got {group} '{row[group]}' in '{split_of[row[group]]}' and "
                f"in '{split}' of '{path}'.",
                "Split again: results on such splits would be too optimistic.",
            )
    return [row for _, row in rows]


def slice_number(row: dict[str, str]) -> int:
    """Return the slice number of a row.

    Raises:
        InputError: it is not a whole number.
    """
    if not re.fullmatch(r"-?[0-9]{1,9}", row["slice"]):
        raise InputError(f"Expected a whole number as slice of '{row['image']}', got '{row['slice']}'.")
    return int(row["slice"])


def image_path(folder: Path, name: str) -> Path:
    """Return the path of an image of a set."""
    return folder / "images" / name


def mask_path(folder: Path, name: str) -> Path:
    """Return the path of the mask of an image."""
    return folder / "masks" / f"{Path(name).stem}.png"


def decode(path: Path, mode: str) -> np.ndarray:
    """Decode a PNG or JPEG: (H, W, 3) uint8 for the mode "RGB", (H, W) uint8 for "L".

    Raises:
        UnusableImageError: it is missing, cannot be decoded, or has 16 bits.
    """
    try:
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I"):  # Pillow would clip 16 bits at 255
                raise ValueError("expected 8 bits per pixel, got 16")
            return np.asarray(image.convert(mode))
    except _UNREADABLE as error:
        raise UnusableImageError(f"'{path}' cannot be decoded: {error}.", "Copy it again.") from error


def read_pair(image: Path, mask: Path, mode: str = "RGB") -> tuple[np.ndarray, np.ndarray]:
    """Read an image in the mode of `decode`, and its mask, (H, W) bool.

    Raises:
        UnusableImageError: one of them is missing or cannot be decoded, they differ in size, or the mask has no value
            above 127 but is not all 0.
    """
    pixels, marked = decode(image, mode), decode(mask, "L")
    if marked.shape != pixels.shape[:2]:
        raise UnusableImageError(
            f"Expected {_size(pixels)} pixels, the size of '{image}', got {_size(marked)} in '{mask}'.",
            "Use the mask that belongs to the image.",
        )
    if 0 < marked.max() <= 127:
        raise UnusableImageError(
            f"Expected values 0 and 255 in the mask '{mask}', got at most {marked.max()}.", "Write 255 inside."
        )
    return pixels, marked > 127


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
