"""Draw what was found in an image: its best slice, and its slices side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..evaluation.annotated import Entry, annotate, montage
from ..evaluation.overlays import overlay
from ..volumes.write import write_png
from .segmented import Segmented

MAX_SLICES = 25


def draw_overlay(path: Path, made: Segmented) -> None:
    """Write the best slice with the masks, their names and scores."""
    number = made.best_slice
    last = len(made.stack) - 1
    title = f"{made.name}, {made.stack.plane} slice {number} of 0 to {last}" if last else made.name
    write_png(path, annotate(_drawn(made, number), title, _entries(made, number)), marked=True)


def draw_montage(path: Path, made: Segmented) -> None:
    """Write the slices on which something was found, or else those that were looked at, evenly spaced where many."""
    masks = [segment.mask for segment in made.segments.values()]
    looked = sorted({number for by_slice in made.results.values() for number in by_slice})
    found = [k for k in range(len(made.stack)) if any(made.stack.from_grid(mask, k).any() for mask in masks)]
    slices = found or looked
    if len(slices) > MAX_SLICES:
        slices = [slices[n] for n in np.linspace(0, len(slices) - 1, MAX_SLICES).round().astype(int)]
    sheet = montage([(f"slice {k}", _drawn(made, k)) for k in slices])
    of = f"{len(found)} with a find" if found else f"nothing found on {len(looked)}"
    title = f"{made.name}, {made.stack.plane} slices {slices[0]} to {slices[-1]} of 0 to {len(made.stack) - 1}, {of}"
    write_png(path, annotate(sheet, title, _entries(made)), marked=True)


def _drawn(made: Segmented, number: int) -> np.ndarray:
    masks = {label: made.stack.from_grid(segment.mask, number) for label, segment in made.segments.items()}
    colors = {label: segment.color for label, segment in made.segments.items()}
    return overlay(made.stack.image(number), masks, colors)


def _entries(made: Segmented, number: int | None = None) -> list[Entry]:
    """List the labels with their scores, on a slice or at best, in their colors."""
    entries = []
    for label, segment in made.segments.items():
        result = made.results[label].get(number) if number is not None else None
        score = made.score(label) if number is None else result.score if result is not None else 0.0
        found = segment.mask.any() if number is None else made.stack.from_grid(segment.mask, number).any()
        entries.append((f"{label} {score:.2f}" if found else f"{label}: nothing found", segment.color))
    return entries
