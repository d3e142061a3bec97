"""The HTML report to review an export: an overlay of each case, which a click strikes out."""

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
"""Unit of the size of masks in images without orientation (such as PNG and radiographs) or without a known spacing."""


def write_report(
    folder: Path, records: Sequence[Mapping[str, Any]], struck: Collection[str], remarks: Sequence[str] = ()
) -> None:
    """Write report.html into an export's folder; its images are in report/.

    The page needs no network and no server. The browser stores the cases struck out, and a button saves their names
    as struck.txt, for `medclipsam strike`.

    Args:
        remarks: sentences about the whole dataset, for the top of the page.
    """
    page = resource_path(TEMPLATE).read_text(encoding="utf-8")
    content = {"cases": list(records), "struck": sorted(struck), "remarks": list(remarks)}
    data = json.dumps(content, ensure_ascii=True).replace("<", "\\u003c")
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(page.replace("%DATA%", data), encoding="utf-8")


def describe_size(mask: np.ndarray, volume: Volume) -> dict[str, Any]:
    """Return the size of a mask as fields of a label: in ml, or in `PIXELS` without orientation or known spacing."""
    flat = volume.natural or not volume.known_spacing
    size = float(mask.sum()) * (1e-3 if flat else volume.geometry.voxel_ml)
    return {"voxels": int(mask.sum()), "size": round(size, 4), "unit": PIXELS if flat else "ml"}


def write_overlay(
    folder: Path, case: str, stack: SliceStack, masks: Mapping[str, np.ndarray], number: int | None = None
) -> int:
    """Write a picture of a slice with its masks for the report, and return the slice number.

    Args:
        masks: label -> mask, (K, J, I) bool.
        number: slice number; None takes the slice with the largest masks.
    """
    if number is None:
        shown = {k: sum(int(stack.from_grid(mask, k).sum()) for mask in masks.values()) for k in range(len(stack))}
        number = max(shown, key=lambda k: shown[k]) if any(shown.values()) else len(stack) // 2
    (folder / IMAGE_FOLDER).mkdir(exist_ok=True)
    drawn = {label: stack.from_grid(mask, number) for label, mask in masks.items()}
    image = overlay(stack.image(number), drawn, {label: color_for(label) for label in drawn})
    write_png(folder / IMAGE_FOLDER / f"{case}.png", image, marked=True)
    return number
