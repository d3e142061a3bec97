"""The sets of real images to measure, and the choice of their cases; see `starter.data_set` for their layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..starter.data_set import UnusableImageError, decode, image_path, mask_path, read_index, read_pair, slice_number

SEED = 12


@dataclass(frozen=True)
class RealSet:
    """A set of real images and its prompt.

    Args:
        prompt: what to segment.
        group: the column of the patient, or a substitute; no group is in two splits.
        unit: the column of the object of which several images are slices. Of the slices whose mask is not empty, only
            the middle one is used.
        lesion_free: modality of the lesion-free phantoms for the prompt.
        crops: whether parts of its images outside the truth can serve as images without the target.
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


@dataclass(frozen=True)
class RealCase:
    """An image with a mask.

    Args:
        name: name of the image file.
        group: its patient, or a substitute.
        image, mask: paths of the files.
    """

    name: str
    group: str
    image: Path
    mask: Path

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the image, (H, W, 3) uint8, and the truth, (H, W) bool.

        Raises:
            UnusableImageError: one of them cannot be decoded, they differ in size, or the mask is empty.
        """
        image, truth = read_pair(self.image, self.mask)
        if not truth.any():
            raise UnusableImageError(f"Expected a mask with marked pixels, got '{self.mask}', which is all black.")
        return image, truth


def choose_cases(data: Path, name: str, split: str, count: int) -> list[RealCase]:
    """Choose up to `count` cases of a split, the same at every call.

    One random image of every patient is taken first, then a second one, and so on; in the last round the patients are
    spread evenly over the set.

    Raises:
        InputError: the index is missing or invalid, a patient is in two splits, or a file is missing.
    """
    real, folder = REAL_SETS[name], data / name
    more = [real.unit, "slice"] if real.unit else []
    rows = [row for row in read_index(folder, real.group, more) if row["split"] == split]
    if real.unit:
        rows = _middle_rows([row for row in rows if _marks_something(_case(folder, row, real).mask)], real.unit)
    if not rows:
        raise InputError(f"Expected images of the split '{split}' with masks in '{folder}', got none.")
    cases = [_case(folder, row, real) for row in _spread(rows, real.group, count)]
    for path in (path for case in cases for path in (case.image, case.mask)):
        _require_file(path)
    return cases


def _middle_rows(rows: list[dict[str, str]], unit: str) -> list[dict[str, str]]:
    """Take the middle slice of each object, the later one of two."""
    slices: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        slices.setdefault(row[unit], []).append(row)
    return [sorted(rows, key=slice_number)[len(rows) // 2] for rows in slices.values()]


def _marks_something(mask: Path) -> bool:
    """Tell whether a mask is not empty; one that cannot be decoded counts and fails when its case is loaded."""
    _require_file(mask)
    try:
        return bool((decode(mask, "L") > 127).any())
    except UnusableImageError:
        return True


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"Expected the file '{path}', got none.", "Add the missing file to the set.")


def _spread(rows: list[dict[str, str]], group: str, count: int) -> list[dict[str, str]]:
    """Take `count` rows in rounds, each with a random row of every group that has one left.

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
    """Take `count` of the items at even distances, or all if there are fewer."""
    if count >= len(items):
        return list(items)
    return [items[int((at + 0.5) * len(items) / count)] for at in range(count)]


def _case(folder: Path, row: dict[str, str], real: RealSet) -> RealCase:
    name = row["image"]
    return RealCase(name, row[real.group], image_path(folder, name), mask_path(folder, name))
