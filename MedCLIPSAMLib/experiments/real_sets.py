"""Sets of real images with masks: folders of images/, masks/ and index.csv, and which cases of them are measured.

    DATA/breast_us_busbra/index.csv         image,patient,split,...
    DATA/breast_us_busbra/images/NAME.jpg   grey, upright
    DATA/breast_us_busbra/masks/NAME.png    over 127 inside, of the same size

Read with Pillow and NumPy alone.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InputError

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test", "gap": "gap"}
"""What index.csv says, and what it means; "gap" lies between two splits and is used by none."""
SEED = 12
_UNREADABLE = (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError)


@dataclass(frozen=True)
class RealSet:
    """What is measured on a set.

    Args:
        prompt: what is segmented.
        group: the column of the patient, or of what stands for one: no two splits share one.
        unit: a column by whose value several images are slices of one thing: the middle one is taken, of those whose
            mask marks something.
        lesion_free: modality of the phantoms without a lesion that the prompt is tried on.
        crops: whether parts of its images beside the truth show nothing that the prompt names.
    """

    prompt: str
    group: str = "patient"
    unit: str | None = None
    lesion_free: str | None = None
    crops: bool = False


REAL_SETS = {
    "breast_us_busbra": RealSet("breast tumor", lesion_free="US", crops=True),
    "brain_mr_cheng": RealSet("brain tumor", group="block", lesion_free="MR"),
    "chest_xray_covid": RealSet("lungs"),
    "lung_ct_lidc_crops": RealSet("lung nodule", unit="nodule", lesion_free="CT"),
}


class UnusableImageError(InputError):
    """An image or mask that cannot be decoded, or a mask that marks nothing: the case is left out and listed."""


@dataclass(frozen=True)
class RealCase:
    """An image with a mask.

    Args:
        name: of the image file.
        group: its patient, or what stands for one.
    """

    name: str
    group: str
    image: Path
    mask: Path

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the image, (H, W, 3) uint8, and the truth, (H, W) bool.

        Raises:
            UnusableImageError: either cannot be decoded, or nothing is marked. InputError: they differ in size.
        """
        image, mask = _decode(self.image, "RGB"), _decode(self.mask, "L")
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"Expected {_size(image)} pixels, as '{self.image}' has, got {_size(mask)} in '{self.mask}'.",
                "Give the mask that belongs to the image.",
            )
        truth = mask > 127
        if not truth.any():
            raise UnusableImageError(f"Expected a mask that marks something, got '{self.mask}', which is black.")
        return image, truth


def choose_cases(data: Path, name: str, split: str, count: int) -> list[RealCase]:
    """Choose up to `count` cases of a split, the same at every call.

    One image of every patient first, the patients spread evenly over the set; then a second one, and so on.

    Raises:
        InputError: an index that is missing or not as it should be, a patient in two splits, or a missing file.
    """
    real, folder = REAL_SETS[name], data / name
    rows = [row for row in _read_index(folder, real) if SPLITS[row["split"]] == split]
    if real.unit:
        rows = _middle_rows([row for row in rows if _marks_something(_case(folder, row, real).mask)], real.unit)
    if not rows:
        raise InputError(f"Expected images of the split '{split}' with masks in '{folder}', got none.")
    cases = [_case(folder, row, real) for row in _spread(rows, real.group, count)]
    for path in (path for case in cases for path in (case.image, case.mask)):
        _require_file(path)
    return cases


def _read_index(folder: Path, real: RealSet) -> list[dict[str, str]]:
    """Read the rows of index.csv, and check what is needed of them."""
    path = folder / "index.csv"
    needed = ["image", real.group, "split", *([real.unit, "slice"] if real.unit else [])]
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Expected a table '{path}', got none that can be read: {error}.", "Name the data.") from error
    lacking = [column for column in needed if column not in columns]
    if lacking:
        raise InputError(f"Expected the columns {', '.join(needed)} in '{path}', got {', '.join(columns) or 'none'}.")
    split_of: dict[str, str] = {}
    seen: set[str] = set()
    for line, row in enumerate(rows, 2):
        where = f"in line {line} of '{path}'"
        if None in row or None in row.values():
            raise InputError(f"Expected {len(columns)} values {where}, got another number.")
        if row["split"] not in SPLITS:
            raise InputError(f"Expected one of {', '.join(SPLITS)} as split {where}, got '{row['split']}'.")
        if Path(row["image"]).name != row["image"] or "\\" in row["image"] or row["image"] in ("", ".", ".."):
            raise InputError(f"Expected the name of a file in images {where}, got '{row['image']}'.")
        if row["image"] in seen:
            raise InputError(f"Expected every image once, got '{row['image']}' again {where}.")
        seen.add(row["image"])
        split, group = SPLITS[row["split"]], row[real.group]
        if split != "gap" and split_of.setdefault(group, split) != split:
            raise InputError(
                f"Expected every {real.group} in one split, got {real.group} '{group}' in '{split_of[group]}' and "
                f"in '{split}' of '{path}'.",
                "Figures on such a split would be too good; split again.",
            )
    return rows


def _middle_rows(rows: list[dict[str, str]], unit: str) -> list[dict[str, str]]:
    """Take the middle one of the slices of each thing, the upper of two."""
    slices: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if not row["slice"].lstrip("-").isdecimal():
            raise InputError(f"Expected a whole number as slice of '{row['image']}', got '{row['slice']}'.")
        slices.setdefault(row[unit], []).append(row)
    return [sorted(rows, key=lambda row: int(row["slice"]))[len(rows) // 2] for rows in slices.values()]


def _marks_something(mask: Path) -> bool:
    """Tell whether a mask marks something; one that cannot be decoded may, and is met again when its case is loaded."""
    _require_file(mask)
    try:
        return bool((_decode(mask, "L") > 127).any())
    except UnusableImageError:
        return True


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"Expected the file '{path}', got none.", "Complete the set.")


def _spread(rows: list[dict[str, str]], group: str, count: int) -> list[dict[str, str]]:
    """Take `count` rows in rounds, in each one a row of every group that has one left, at random.

    In the last round the groups are taken at even distances.
    """
    rng = np.random.default_rng(SEED)
    by_group: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: (row[group], row["image"])):
        by_group.setdefault(row[group], []).append(row)
    shuffled = [[group[at] for at in rng.permutation(len(group))] for group in by_group.values()]
    chosen: list[dict[str, str]] = []
    for turn in range(max(map(len, shuffled))):
        round_ = [group[turn] for group in shuffled if turn < len(group)]
        chosen += evenly(round_, count - len(chosen))
    return chosen


def evenly(items: Sequence, count: int) -> list:
    """Take `count` of the items at even distances, or all."""
    if count >= len(items):
        return list(items)
    return [items[int((at + 0.5) * len(items) / count)] for at in range(count)]


def _case(folder: Path, row: dict[str, str], real: RealSet) -> RealCase:
    image = folder / "images" / row["image"]
    return RealCase(row["image"], row[real.group], image, folder / "masks" / f"{image.stem}.png")


def _decode(path: Path, mode: str) -> np.ndarray:
    try:
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            return np.asarray(image.convert(mode))
    except _UNREADABLE as error:
        raise UnusableImageError(f"'{path}' cannot be decoded: {error}.", "Copy it again.") from error


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"
