"""Slices without position or orientation in the patient, ordered by other tags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_phases import SAME_PLACE_MM
from MedCLIPSAMLib.volumes.dicom_steps import SLICE

PLANES = ("sagittal", "coronal", "axial")
ROWS = ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
"""Usual direction of image rows in each plane, LPS."""
NORMALS = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
OFF_LINE = 0.05
"""Maximum distance of positions from their common line, as a share of the mean distance between slices."""


def without_places(frames: Sequence[Frame], notes: list[str]) -> None:
    """Drop the positions of slices that are all equal while slice locations differ, with a note in `notes`."""
    places = [frame.position for frame in frames]
    heights = [tuple(frame.numbers("SliceLocation")[:1]) for frame in frames]
    if len(frames) < 2 or any(place is None for place in places) or () in heights:
        return
    if np.ptp(np.array(places), axis=0).max() < SAME_PLACE_MM and len(set(heights)) == len(frames):
        for frame in frames:
            frame.position = None
        notes.append("All images state the same position but different slice locations: the position was not used.")


def assume_orientation(frames: Sequence[Frame], notes: list[str]) -> None:
    """Take slices without orientation to be upright and across the line of their positions, with a note in `notes`."""
    positions = [frame.position for frame in frames if frame.position is not None]
    if not 2 <= len(positions) == len(frames) or any(frame.orientation is not None for frame in frames):
        return
    points = np.array(positions)
    points -= points.mean(axis=0)
    line = np.linalg.svd(points, full_matrices=False)[2][0]
    along = points @ line
    off = np.linalg.norm(points - np.outer(along, line), axis=1).max()
    if np.ptp(along) < SAME_PLACE_MM or off > OFF_LINE * np.ptp(along) / (len(points) - 1) + SAME_PLACE_MM:
        return
    axis = int(np.abs(line).argmax())
    normal = line * np.sign(line @ np.array(NORMALS[axis]))
    row = np.array(ROWS[axis]) - (np.array(ROWS[axis]) @ normal) * normal
    row /= np.linalg.norm(row)
    for frame in frames:
        frame.orientation = np.stack([row, np.cross(normal, row), normal], axis=1)
    notes.append(
        f"The DICOM images have positions but no orientation: they were taken to be upright {PLANES[axis]} slices, "
        "in the order of their positions. Left and right, or top and bottom, may be swapped."
    )


def order_unplaced(frames: Sequence[Frame]) -> tuple[list[Frame], str, np.ndarray | None]:
    """Sort slices without positions.

    Returns:
        The slices; the words for what they are sorted by; and their heights in mm if sorted by these, otherwise None.
    """
    heights = [frame.numbers("SliceLocation")[:1] for frame in frames]
    if all(heights) and len(frames) > 1:
        order = np.argsort(np.ravel(heights), kind="stable")
        ordered = np.ravel(heights)[order]
        if np.isfinite(ordered).all() and np.diff(ordered).min() > SAME_PLACE_MM:
            return [frames[place] for place in order], "slice locations", ordered
    files = {frame.path: frame.numbers("InstanceNumber")[:1] for frame in frames}
    if len(files) == 1:
        by = "numbers" if all(SLICE in frame.own for frame in frames) else "places in the file"
    elif all(files.values()) and len({number for (number,) in files.values()}) == len(files):
        by = "numbers"
    else:
        by = "numbers, or of the names of their files if these are missing or the same"
    key = lambda frame: (files[frame.path] or [0.0], str(frame.path), frame.own.get(SLICE, 0), frame.index)
    return sorted(frames, key=key), by, None
