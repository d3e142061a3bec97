"""Training examples from the training splits of a folder of data sets; see `data_set`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from ..errors import InputError
from ..run_context import RunContext
from .data_set import UnusableImageError, decode, image_path, mask_path, read_index, read_pair, slice_number
from .examples import LESION, SIZE, STACKS, Example, Structure, describe

MIN_STACK = 8
"""Minimum number of slices of a nodule for a stack to train the memory on."""
_MIN_PART = 12
"""Minimum area in pixels of a component of a mask in the full image; smaller ones are specks."""
_MIN_SIDE = 0.35
"""Minimum width and height of a box without tumor, as fractions of the image's."""


@dataclass(frozen=True)
class _Row:
    """A line of index.csv with its image, gray (H, W) uint8, and its mask, (H, W) bool."""

    fields: dict[str, str]
    image: Image.Image
    mask: np.ndarray

    @property
    def patient(self) -> str:
        return self.fields.get("patient") or self.fields.get("block", "")


def read_examples(data: Path, context: RunContext = RunContext()) -> Iterator[Example]:
    """Read the training examples of every known data set under `data`, at `SIZE` x `SIZE`.

    An image is left out with a notice if it cannot be read, or if its mask is missing or of another size.
    """
    for name, table in check_sets(data).items():
        rows = [row for row in table if row["split"] == "train"]
        yield from map(describe, _SETS[name].read(_rows(data / name, rows, context)))


def check_sets(data: Path) -> dict[str, list[dict[str, str]]]:
    """Read the tables of every known data set under `data`, by name.

    Raises:
        InputError: there is no known data set, or a table is missing or invalid; see `read_index`.
    """
    present = [name for name in _SETS if (data / name).is_dir()]
    if not present:
        raise InputError(
            f"Expected folders such as {next(iter(_SETS))} in '{data}', got none.", "Give their parent folder."
        )
    return {name: read_index(data / name, _SETS[name].group, _SETS[name].more) for name in present}


def _rows(folder: Path, table: list[dict[str, str]], context: RunContext) -> Iterator[_Row]:
    empty = not (folder / "masks").is_dir()
    for row in table:
        path = image_path(folder, row["image"])
        try:
            if empty:
                pixels = decode(path, "L")
                mask = np.zeros(pixels.shape, bool)
            else:
                pixels, mask = read_pair(path, mask_path(folder, row["image"]), "L")
        except UnusableImageError as error:
            context.notify(f"Left out {folder.name}/{row['image']}: {error.problem}")
            continue
        yield _Row(row, Image.fromarray(pixels), mask)


def _example(
    row: _Row,
    modality: str,
    source: str,
    structures: list[tuple[str, np.ndarray, set[str]]],
    facts: Iterable[str] = (),
) -> Example:
    """Make an example at `SIZE` x `SIZE`, without structures that vanish at this size."""
    resized = [Structure(name, _resize(mask), frozenset(attributes)) for name, mask, attributes in structures]
    return Example(
        _shrink(row.image),
        modality,
        source,
        frozenset({f"modality:{modality}", *facts}),
        tuple(structure for structure in resized if structure.mask.sum() >= 8),
        row.patient,
    )


def _shrink(image: Image.Image) -> np.ndarray:
    smooth = Image.Resampling.LANCZOS if min(image.size) >= SIZE else Image.Resampling.BICUBIC
    return np.asarray(image.resize((SIZE, SIZE), smooth))


def _resize(mask: np.ndarray) -> np.ndarray:
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(image) > 127


def _parts(mask: np.ndarray, min_share: float = 0.02) -> list[np.ndarray]:
    """Split a mask into its connected components, without specks."""
    labels, count = ndimage.label(mask)
    areas = ndimage.sum_labels(mask, labels, range(1, count + 1))
    return [labels == i + 1 for i in range(count) if areas[i] >= max(min_share * mask.sum(), _MIN_PART)]


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def _read_breast(rows: Iterator[_Row]) -> Iterator[Example]:
    """Read the whole image, a part without the tumor, and a part with it, so that the scale does not give it away."""
    for row in rows:
        kind = {f"kind:{row.fields['pathology']}"}
        lesions = [(LESION, part, kind) for part in _parts(row.mask)]
        yield _example(row, "US", "busbra", lesions)
        rng = _generator(row.fields["image"])
        free = list_tumor_free_boxes(row.mask)
        if free and rng.random() < 0.75:
            yield _example(_crop(row, free[rng.integers(len(free))]), "US", "busbra_free", [])
        if row.mask.any() and rng.random() < 0.5:
            near = _crop(row, _box_around(row.mask, rng))
            yield _example(near, "US", "busbra_near", [(LESION, part, kind) for part in _parts(near.mask)])


def list_tumor_free_boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """List the boxes (x0, y0, x1, y1) beside, above and below a tumor that are large enough (see `_MIN_SIDE`)."""
    if not mask.any():
        return []
    height, width = mask.shape
    x0, y0, x1, y1 = _extent(mask)
    boxes = ((0, 0, x0 - 3, height), (x1 + 3, 0, width, height), (0, 0, width, y0 - 3), (0, y1 + 3, width, height))
    return [box for box in boxes if box[2] - box[0] > _MIN_SIDE * width and box[3] - box[1] > _MIN_SIDE * height]


def _extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def _box_around(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a random box around the whole tumor: 40 to 90 % of the image's sides, or more for a large tumor."""
    x0, y0, x1, y1 = _extent(mask)
    starts, ends = [], []
    for low, high, length in ((x0, x1, mask.shape[1]), (y0, y1, mask.shape[0])):
        size = min(length, max(round(1.2 * (high - low)), round(length * rng.uniform(0.4, 0.9))))
        start = int(rng.integers(max(0, high - size), max(max(0, high - size), min(low, length - size)) + 1))
        starts.append(start)
        ends.append(start + size)
    return starts[0], starts[1], ends[0], ends[1]


def _crop(row: _Row, box: tuple[int, int, int, int]) -> _Row:
    return _Row(row.fields, row.image.crop(box), row.mask[box[1] : box[3], box[0] : box[2]])


def _read_brain(rows: Iterator[_Row]) -> Iterator[Example]:
    for row in rows:
        kind = {f"kind:{row.fields['tumour'].split()[0]}"}
        yield _example(row, "MR", "cheng", [(LESION, part, kind) for part in _parts(row.mask)])


def _read_brain_without_tumor(rows: Iterator[_Row]) -> Iterator[Example]:
    for row in rows:
        yield _example(row, "MR", "lgg_free", [])


def _read_lungs(rows: Iterator[_Row]) -> Iterator[Example]:
    """Read the two lungs, the patient's right one at the left; as one structure if the mask does not have two parts."""
    for row in rows:
        parts = sorted(_parts(row.mask, 0.1), key=lambda part: -part.sum())[:2]
        parts.sort(key=lambda part: np.nonzero(part)[1].mean())
        sides = ("right lung", "left lung")
        lungs: list[tuple[str, np.ndarray, set[str]]] = [(side, part, set()) for side, part in zip(sides, parts)]
        covid = {"kind:covid"} if "covid" in row.fields.get("finding", "").lower() else set()
        yield _example(row, "XR", "covid_xray", lungs if len(parts) == 2 else [("lungs", row.mask, set())], covid)


def _read_nodules(rows: Iterator[_Row]) -> Iterator[Example]:
    known = list(rows)
    slices = Counter(row.fields["nodule"] for row in known)
    for row in known:
        nodule, number = row.fields["nodule"], slice_number(row.fields)
        example = _example(row, "CT", "lidc", [(LESION, row.mask, set())] if row.mask.any() else [])
        if slices[nodule] >= MIN_STACK:
            example = Example(
                example.image, "CT", STACKS, example.facts, example.structures, group=nodule, position=number
            )
        yield example


def _read_heads(rows: Iterator[_Row]) -> Iterator[Example]:
    for row in rows:
        yield _example(row, "US", "fetal_head", [("fetal head", row.mask, set())])


@dataclass(frozen=True)
class _Set:
    """How a data set is read: its examples, the column of the patient or a substitute, and further columns."""

    read: Callable[[Iterator[_Row]], Iterator[Example]]
    group: str = "patient"
    more: tuple[str, ...] = ()


_SETS = {
    "breast_us_busbra": _Set(_read_breast, more=("pathology",)),
    "brain_mr_cheng": _Set(_read_brain, "block", ("tumour",)),
    "brain_mr_tumour_free": _Set(_read_brain_without_tumor),
    "chest_xray_covid": _Set(_read_lungs),
    "lung_ct_lidc_crops": _Set(_read_nodules, more=("nodule", "slice")),
    "fetal_head_us_hc18": _Set(_read_heads),
}
