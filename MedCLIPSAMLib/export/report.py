"""A page to review an export: an overlay of each case, and a click strikes a bad one out."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.overlays import overlay
from ..files.atomic import atomic_path
from ..resources import resource_path
from ..volumes import SliceStack, Volume
from ..volumes.terminology import color_for
from ..volumes.write import write_png

PAGE, IMAGE_FOLDER = "report.html", "report"
TEMPLATE = "pages/export_report.html"
PIXELS = "thousand pixels"
"""The unit of the size of a mask in an image."""


def write_report(
    folder: Path, records: Sequence[Mapping[str, Any]], struck: Collection[str], remarks: Sequence[str] = ()
) -> None:
    """Write report.html into an export's folder, beside the images in report/.

    The page needs no network and no server. The browser stores the cases struck out, and a button saves them as a
    list of names, struck.txt, for `medclipsam strike`.

    Args:
        remarks: sentences on the whole dataset, for the head of the page.
    """
    page = resource_path(TEMPLATE).read_text(encoding="utf-8")
    content = {"cases": list(records), "struck": sorted(struck), "remarks": list(remarks)}
    data = json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page.replace("%DATA%", data), encoding="utf-8")


def describe_size(mask: np.ndarray, volume: Volume) -> dict[str, Any]:
    """Return the fields of a label that say how large its mask is: ml, or thousand pixels of an image."""
    flat = volume.natural or not volume.known_spacing
    size = float(mask.sum()) * (1e-3 if flat else volume.geometry.voxel_ml)
    return {"voxels": int(mask.sum()), "size": round(size, 4), "unit": PIXELS if flat else "ml"}


def write_overlay(
    folder: Path, case: str, stack: SliceStack, masks: Mapping[str, np.ndarray], number: int | None = None
) -> int:
    """Write a slice with masks, (K, J, I) bool by label, for the report, and return its number.

    Args:
        number: of the slice; None is the one with the largest masks.
    """
    if number is None:
        shown = {k: sum(int(stack.from_grid(mask, k).sum()) for mask in masks.values()) for k in range(len(stack))}
        number = max(shown, key=lambda k: shown[k]) if any(shown.values()) else len(stack) // 2
    (folder / IMAGE_FOLDER).mkdir(exist_ok=True)
    drawn = {label: stack.from_grid(mask, number) for label, mask in masks.items()}
    image = overlay(stack.image(number), drawn, {label: color_for(label) for label in drawn})
    write_png(folder / IMAGE_FOLDER / f"{case}.png", image, marked=True)
    return number
