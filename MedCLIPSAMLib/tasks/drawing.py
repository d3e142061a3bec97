"""Draw the segments of an image, on its best slice or on its slices side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..counted import counted
from ..evaluation.annotated import Entry, annotate, montage
from ..evaluation.overlays import overlay
from ..volumes.write import write_png
from .segmented import Segmented

MAX_SLICES = 25


def draw_overlay(path: Path, segmented: Segmented) -> None:
    """Write a picture of the best slice with the masks, their names and scores."""
    number = segmented.best_slice
    last = len(segmented.stack) - 1
    title = f"{segmented.name}, {segmented.stack.plane} slice {number} of 0 to {last}" if last else segmented.name
    write_png(path, annotate(_drawn(segmented, number), title, _entries(segmented, number)), marked=True)


def draw_montage(path: Path, segmented: Segmented) -> None:
    """Write a picture of the slices on which something was found, or of all segmented ones if nothing was.

    If there are more than `MAX_SLICES`, an evenly spaced selection is shown.
    """
    masks = [segment.mask for segment in segmented.segments.values()]
    looked = sorted({number for by_slice in segmented.results.values() for number in by_slice})
    found = [k for k in range(len(segmented.stack)) if any(segmented.stack.from_grid(mask, k).any() for mask in masks)]
    slices = found or looked
    if len(slices) > MAX_SLICES:
        slices = [slices[n] for n in np.linspace(0, len(slices) - 1, MAX_SLICES).round().astype(int)]
    sheet = montage([(f"slice {k}", _drawn(segmented, k)) for k in slices])
    plane, last = segmented.stack.plane, len(segmented.stack) - 1
    title = f"{segmented.name}, {plane} slices {slices[0]} to {slices[-1]} of 0 to {last}, {len(found)} with a find"
    if not found:
        title = f"{segmented.name}, nothing found on {counted(segmented.slice_count, f'{plane} slice')}"
    write_png(path, annotate(sheet, title, _entries(segmented)), marked=True)


def _drawn(segmented: Segmented, number: int) -> np.ndarray:
    masks = {label: segmented.stack.from_grid(segment.mask, number) for label, segment in segmented.segments.items()}
    colors = {label: segment.color for label, segment in segmented.segments.items()}
    return overlay(segmented.stack.image(number), masks, colors)


def _entries(segmented: Segmented, number: int | None = None) -> list[Entry]:
    """List the labels with their colors and their scores on a slice, or the best scores without a slice number."""
    entries = []
    for label, segment in segmented.segments.items():
        result = segmented.results[label].get(number) if number is not None else None
        score = segmented.score(label) if number is None else result.score if result is not None else 0.0
        found = segment.mask.any() if number is None else segmented.stack.from_grid(segment.mask, number).any()
        entries.append((f"{label} {score:.2f}" if found else f"{label}: nothing found", segment.color))
    return entries
