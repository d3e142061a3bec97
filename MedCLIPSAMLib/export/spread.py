"""DICOM series whose files lie in several folders, such as a hundred in each."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..volumes.dicom_geometry import SAME_AXES
from ..volumes.dicom_phases import SAME_PLACE_MM, depths_of
from ..volumes.dicom_series import Series, mark_shared

log = logging.getLogger(__name__)

OFF_GRID = 0.2
"""Maximum distance of a slice to its place in an even stack, as a share of the slice distance."""
MISSING = 0.25
"""Maximum share of slices that may be missing in a stack of several folders."""


def join_spread(found: Mapping[Path, list[Series]]) -> dict[Path, list[Series]]:
    """Move the parts of a series in several folders, where together they are one stack, to the folder of all of these.

    Others stay what each folder holds: time points and copies in folders of their own. Of slices it is logged.
    """
    parts: dict[tuple[str, ...], dict[Path, Series]] = defaultdict(dict)
    for folder, series in found.items():
        for item in series:
            if item.uid and not item.what:
                parts[item.key][folder] = item
    joined = {folder: list(series) for folder, series in found.items()}
    apart: list[Mapping[Path, Series]] = []
    for of_series in parts.values():
        if len(of_series) < 2:
            continue
        if _is_stack(list(of_series.values())):
            first, *others = of_series.values()
            whole = Series(first.uid, key=first.key, spread=True)
            for item in (first, *others):
                whole.files |= item.files
            for folder, item in of_series.items():
                joined[folder].remove(item)
            joined.setdefault(Path(os.path.commonpath(of_series)), []).append(whole)
        elif any(len(item.files) > 1 and item.frames()[0].position is not None for item in of_series.values()):
            apart.append(of_series)
    mark_shared(item for series in joined.values() for item in series)
    if apart:
        first_two = " and ".join(f"'{folder.name}'" for folder in list(apart[0])[:2])
        log.warning(
            "The files of %s DICOM series lie in several folders each, such as %s, and make no single stack: each "
            "folder is taken by itself.",
            len(apart),
            first_two,
        )
    return joined


def _is_stack(parts: Sequence[Series]) -> bool:
    """Tell whether slices of several folders are one stack, each at a place of its own; a few may be missing."""
    frames = [frame for part in parts for frame in part.frames()]
    if any(frame.position is None or frame.orientation is None or frame.is_localizer for frame in frames):
        return False
    axes = np.array([frame.orientation for frame in frames])
    spaces = {(frame.size, frame.text("FrameOfReferenceUID")) for frame in frames}
    if len(spaces) > 1 or np.abs(axes - axes[0]).max() > SAME_AXES:
        return False
    gaps = np.diff(np.sort(depths_of(frames)))
    step = float(np.median(gaps))
    if step < SAME_PLACE_MM:
        return False
    steps = np.rint(gaps / step)
    off_grid = np.abs(gaps - steps * step).max() / step
    return bool(steps.min() > 0 and off_grid < OFF_GRID and steps.sum() - len(gaps) <= MISSING * len(frames))
