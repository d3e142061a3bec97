"""Masks of a DICOM RT Structure Set: the voxels of an image whose centers lie within its closed contours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from MedCLIPSAMLib.counted import counted
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_header import STORAGE, text
from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.segment import Segment

STRUCTURES = STORAGE + "481.3"
NUMBER = "SegmentNumber"
"""Tag of a segment with its number in the file."""
CONVERT = "Load it with its images in 3D Slicer (extension {}), and save the segmentation as .seg.nrrd."
XOR = "CLOSEDPLANAR_XOR"
"""Type of contours that are combined by exclusive or, even where they cross."""
CLOSED = {"CLOSED_PLANAR", XOR}
OFF_SLICE = 0.25
"""Maximum distance of a contour from a slice, in slices."""
FAR = 5000
"""Maximum distance of a contour from the first voxel, in voxels."""
MAX_VOXELS = 2**31
"""Maximum number of voxels around all contours."""


def read_structures(path: Path, header: Dataset, like: Geometry | None) -> tuple[list[Segment], Geometry, list[str]]:
    """Read the named regions of an RT Structure Set, on the part of a grid that their contours span.

    A contour within another one of the same region and slice is a hole. Points and open lines are left out.

    Args:
        like: the grid; each contour must lie on one of its slices.

    Returns:
        The regions, their grid, and sentences for the user on how they were read.

    Raises:
        InputError: there is no grid, there are several frames of reference, there is no region of closed contours, or
            contours lie between slices or far from the grid.
    """
    if like is None:
        raise InputError(
            f"'{path}' is an RT Structure Set, whose contours have no voxels of their own.",
            "Give the image that it was drawn on, or give the other masks as voxels: .seg.nrrd, .nii.gz or DICOM SEG.",
        )
    rois = {int(roi.ROINumber): roi for roi in header.get("StructureSetROISequence") or ()}
    if len({text(roi, "ReferencedFrameOfReferenceUID") for roi in rois.values()} - {""}) > 1:
        raise InputError(f"'{path}' has regions in several frames of reference.", CONVERT.format("SlicerRT"))
    names = {number: text(roi, "ROIName") or f"Segment {number}" for number, roi in rois.items()}
    to_voxels, notes = np.linalg.inv(like.affine), list[str]()
    contours: dict[int, list[np.ndarray]] = defaultdict(list)
    left_out = Counter[int]()
    by_turns = set[int]()
    for region in header.get("ROIContourSequence") or ():
        number, drawn = int(region.ReferencedROINumber), region.get("ContourSequence") or ()
        names.setdefault(number, f"Segment {number}")  # contours whose region was deleted
        kinds = [text(contour, "ContourGeometricType").upper() for contour in drawn]
        closed = [contour for contour, kind in zip(drawn, kinds) if kind in CLOSED]
        left_out[number] += len(drawn) - len(closed)
        points = [_points(contour) @ to_voxels[:3, :3].T + to_voxels[:3, 3] for contour in closed]
        contours[number] += [np.round(some, 6)[:, ::-1] for some in points if len(some)]
        by_turns |= {number} if XOR in kinds else set()
    for number, count in (+left_out).items():
        if contours[number]:
            what = counted(count, "point or open line", "points or open lines")
            notes.append(f"Left out of '{names[number]}' in '{path}': {what}.")
        else:
            notes.append(f"'{names.pop(number)}' in '{path}' was left out: it is not a region of closed contours.")
    if not names:
        raise InputError(f"'{path}' has no region of closed contours.", "Give a file with one.")
    found = [contour for number in names for contour in contours[number]]
    places = np.concatenate([*found, np.zeros((0 if found else 1, 3))])  # (k, j, i)
    if not np.abs(places).max() <= FAR or np.prod(np.ptp(places, 0) + 1) > MAX_VOXELS:
        raise InputError(
            f"The contours of '{path}' lie far from the other voxels.", "Check that both belong to the same image."
        )
    axis = int(np.argmin(np.max([np.ptp(contour, 0) for contour in found] or [[0, 1, 1]], 0)))
    low, high = np.floor(places.min(0)).astype(int), np.ceil(places.max(0)).astype(int)
    segments = []
    for number, name in names.items():
        mask = np.zeros(high - low + 1, bool)
        relative = [contour - low for contour in contours[number]]
        notes += _fill(np.moveaxis(mask, axis, 0), relative, axis, number in by_turns, f"'{name}' in '{path}'")
        segments.append(Segment(name, mask, tags={NUMBER: f"{number}"}))
    origin = (like.affine @ [*low[::-1], 1])[:3].tolist()
    return segments, Geometry((origin[0], origin[1], origin[2]), like.spacing, like.direction), notes


def _points(contour: Dataset) -> np.ndarray:
    """Read the points of a contour, (N, 3) in LPS, from raw text, because long values may lack their type."""
    value = contour.get_item("ContourData").value if "ContourData" in contour else b""
    numbers = value.decode().strip(" \0").split("\\") if isinstance(value, bytes) else value or []
    return np.array([number for number in numbers if number != ""], float).reshape(-1, 3)


def _fill(mask: np.ndarray, contours: Sequence[np.ndarray], axis: int, by_turns: bool, what: str) -> list[str]:
    """Fill the slices (N, rows, columns) of a mask, and return notes on what may be unintended.

    Args:
        contours: in voxels of the mask before `axis` was moved to the front.
        by_turns: combine the contours by exclusive or, see `XOR`.
        what: the region, for the notes.
    """
    by_slice: dict[int, list[np.ndarray]] = {}
    for contour in contours:
        depth = float(contour[:, axis].mean())
        if np.abs(contour[:, axis] - round(depth)).max() > OFF_SLICE:
            raise InputError(
                f"The contours of {what} do not lie on the slices of the other voxels.",
                f"Give the image that it was drawn on, or voxels of its grid. Else: {CONVERT.format('SlicerRT')}",
            )
        by_slice.setdefault(round(depth), []).append(np.delete(contour, axis, 1))
    has_holes = False
    for number, drawn in by_slice.items():
        found = {inside.tobytes(): inside for inside in map(_inside, drawn)}  # a contour drawn twice counts once
        for inside in sorted(found.values(), key=len, reverse=True):
            at = (number, *inside.T)
            is_hole = bool(len(inside) and mask[at].all())
            mask[at] = ~mask[at] if by_turns else not is_hole
            has_holes |= is_hole and not by_turns
    notes = [f"Contours of {what} that lie within others were taken to be holes."] if has_holes else []
    if (gaps := np.diff(sorted(by_slice))).size and gaps.min() > 1:
        notes.append(f"{what} has no contours on adjacent slices: it is empty on the slices between them.")
    return notes


def _inside(points: np.ndarray) -> np.ndarray:
    """Find the voxels (M, 2) with centers within a closed line (N, 2), by the parity of preceding edges in a row.

    Of the centers on the line itself, those in its first rows and columns count as inside.
    """
    low = np.floor(points.min(0)).astype(int)
    points = points - low
    ends = np.roll(points, -1, 0)
    first = np.ceil(np.minimum(points[:, 0], ends[:, 0])).astype(int)
    count = np.ceil(np.maximum(points[:, 0], ends[:, 0])).astype(int) - first
    edge = np.repeat(np.arange(len(points)), count)
    rows = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    slope = (ends[edge, 1] - points[edge, 1]) / (ends[edge, 0] - points[edge, 0])
    columns = points[edge, 1] + (rows - points[edge, 0]) * slope
    crossed = np.zeros(np.ceil(points.max(0)).astype(int) + 1, int)
    np.add.at(crossed, (rows, np.ceil(columns).astype(int)), 1)
    return np.asarray(np.argwhere(crossed.cumsum(1) % 2 == 1) + low)
