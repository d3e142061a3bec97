"""Captions for fine-tuning a text-image model, from the columns of index.csv: one table per split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.csv_text import write_rows
from ..run_context import RunContext
from .data_set import SPLITS, UnusableImageError, image_path, mask_path, read_index, read_pair

SMALL, LARGE = 0.04, 0.10
"""Area of a tumor, as a fraction of an ultrasound image, below which it is called small and above which large."""
COLUMNS = ("image", "caption", "patient")


def write_captions(folder: Path, out: Path, context: RunContext = RunContext()) -> dict[str, int]:
    """Write `out`/train.csv, validation.csv and test.csv with the columns image, caption and patient.

    An image is left out with a notice if it cannot be decoded, or if its mask is missing or of another size.

    Args:
        folder: folder of a set, breast_us_busbra or brain_mr_cheng.

    Returns:
        The number of captions in each table.

    Raises:
        InputError: the set is another one or invalid; see `read_index`.
        OutputError: the disk is full.
    """
    if folder.name not in _SETS:
        raise InputError(f"Expected a folder named {' or '.join(_SETS)}, got '{folder}'.", "Name one of these sets.")
    group, columns, describe = _SETS[folder.name]
    rows = read_index(folder, group, columns)
    tables: dict[str, list[tuple[str, str, str]]] = {
        name: [] for name in dict.fromkeys(SPLITS.values()) if name != "gap"
    }
    for done, row in enumerate(rows, 1):
        if row["split"] in tables:
            try:
                _, mask = read_pair(image_path(folder, row["image"]), mask_path(folder, row["image"]), "L")
            except UnusableImageError as error:
                context.notify(f"Left out {folder.name}/{row['image']}: {error.problem}")
                continue
            tables[row["split"]].append((row["image"], describe(row, mask), row[group]))
        context.report(done, len(rows), row["image"])
    tables = {split: table for split, table in tables.items() if table}
    if not tables:
        raise InputError(
            f"Expected readable images in '{folder}', but none of {len(rows)} can be read.", "Complete the set."
        )
    out.mkdir(parents=True, exist_ok=True)
    for split, table in tables.items():
        write_rows(out / f"{split}.csv", [COLUMNS, *table])
    return {split: len(table) for split, table in tables.items()}


def _describe_breast(row: dict[str, str], mask: np.ndarray) -> str:
    """Describe size, pathology, histology and BI-RADS category of a tumor."""
    share = mask.mean()
    size = "small " if share < SMALL else "large " if share > LARGE else ""
    return f"breast ultrasound of a {size}{row['pathology']} tumor, {row['histology']}, BI-RADS {row['birads']}"


def _describe_brain(row: dict[str, str], mask: np.ndarray) -> str:
    return f"brain MRI after contrast with a {row['tumour']}{' tumor' if row['tumour'] == 'pituitary' else ''}"


_SETS: dict[str, tuple[str, tuple[str, ...], Callable[[dict[str, str], np.ndarray], str]]] = {
    "breast_us_busbra": ("patient", ("pathology", "birads", "histology"), _describe_breast),
    "brain_mr_cheng": ("block", ("tumour",), _describe_brain),
}
