"""DICOM series whose files lie in several folders, such as a hundred in each."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..volumes.dicom_geometry import SAME_AXES
from ..volumes.dicom_header import Frame
from ..volumes.dicom_phases import SAME_PLACE_MM
from ..volumes.dicom_series import Series

log = logging.getLogger(__name__)

OFF_GRID = 0.2
"""Maximum distance of a slice to its place in an even stack, as a share of the slice distance."""
MISSING = 0.25
"""Maximum share of slices that may be missing in a stack of several folders."""
KEPT = ("SeriesNumber", "SeriesDescription", "Modality")
"""The tags of a series that it is named and chosen by."""


@dataclass(frozen=True, eq=False)
class Part:
    """What is kept of the images of a series in one folder; the headers of a whole tree would not fit in memory.

    Attributes:
        key: of the series.
        files: in the order of their paths.
        header: the tags that it is named and chosen by.
        space: what is the same for all slices of a stack; None where these are none.
        axes: (3, 3), of the first slice.
        positions: (slices, 3), LPS in mm.
    """

    folder: Path
    key: tuple[str, ...]
    files: tuple[Path, ...]
    header: Dataset
    space: tuple | None
    axes: np.ndarray
    positions: np.ndarray


def parts_of(folder: Path, series: Iterable[Series]) -> list[Part]:
    """Return what is kept of the series of images in a folder that have a UID."""
    parts = []
    for item in series:
        if item.what or not item.key or not item.uid:
            continue
        header = Dataset()
        for keyword in KEPT:
            if keyword in item.header:
                header[keyword] = item.header[keyword]
        frames = item.frames()
        places = [frame.position for frame in frames]
        space = _space(frames)
        positions = np.array(places, float) if space is not None else np.empty((0, 3))
        axes = np.eye(3) if frames[0].orientation is None else frames[0].orientation
        parts.append(Part(folder, item.key, tuple(item.files), header, space, axes, positions))
    return parts


def join_parts(parts: Iterable[Part]) -> dict[Path, list[Series]]:
    """Join the parts of each series in several folders that are one stack together: the folder of all -> the series.

    Others stay what each folder holds: time points and copies in folders of their own. Of slices it is logged.
    """
    alike: dict[tuple[str, ...], list[Part]] = defaultdict(list)
    for part in parts:
        alike[part.key].append(part)
    joined: dict[Path, list[Series]] = defaultdict(list)
    apart = []
    for key, of_series in alike.items():
        if len(of_series) > 1 and _are_stack(of_series):
            files = {path: of_series[0].header for part in of_series for path in part.files}
            top = Path(os.path.commonpath([part.folder for part in of_series]))
            joined[top].append(Series(key[0], files=files, key=key, spread=True))
        elif len(of_series) > 1 and any(len(part.positions) > 1 for part in of_series):
            apart.append(of_series)
    if apart:
        log.warning(
            "The files of %s DICOM series lie in several folders each, such as %s, and make no single stack: each "
            "folder is taken by itself.",
            len(apart),
            " and ".join(f"'{part.folder.name}'" for part in apart[0][:2]),
        )
    return joined


def _space(frames: Sequence[Frame]) -> tuple | None:
    """Return the size and frame of reference of slices of one orientation; None where they are no stack."""
    if any(frame.position is None or frame.orientation is None or frame.is_localizer for frame in frames):
        return None
    axes = np.array([frame.orientation for frame in frames])
    spaces = {(frame.size, frame.text("FrameOfReferenceUID")) for frame in frames}
    return spaces.pop() if len(spaces) == 1 and np.abs(axes - axes[0]).max() < SAME_AXES else None


def _are_stack(parts: Sequence[Part]) -> bool:
    """Tell whether slices of several folders are one stack, each at a place of its own; a few may be missing."""
    first = parts[0]
    if first.space is None or any(
        part.space != first.space or np.abs(part.axes - first.axes).max() >= SAME_AXES for part in parts
    ):
        return False
    heights = np.concatenate([part.positions for part in parts]) @ first.axes[:, 2]
    gaps = np.diff(np.sort(heights))
    step = float(np.median(gaps))
    if step < SAME_PLACE_MM:
        return False
    steps = np.rint(gaps / step)
    off_grid = np.abs(gaps - steps * step).max() / step
    return bool(steps.min() > 0 and off_grid < OFF_GRID and steps.sum() - len(gaps) <= MISSING * len(heights))
