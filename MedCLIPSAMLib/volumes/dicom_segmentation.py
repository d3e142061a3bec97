"""Masks of DICOM Segmentations, which omit slices without a segment, so that each frame has its own position.

RT Structure Sets are read by `dicom_structures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_decode import decode
from MedCLIPSAMLib.volumes.dicom_header import (
    DAMAGED,
    STORAGE,
    Frame,
    frames_of,
    is_dicom,
    object_class,
    quiet,
    read_header,
    text,
)
from MedCLIPSAMLib.volumes.dicom_structures import CONVERT, NUMBER, STRUCTURES, read_structures
from MedCLIPSAMLib.volumes.geometry import Geometry, straight
from MedCLIPSAMLib.volumes.read import reading
from MedCLIPSAMLib.volumes.segment import Segment

SEGMENTATIONS = (STORAGE + "66.4", STORAGE + "66.7")
OFF_LATTICE = 0.05
"""Maximum distance of a frame from its position on the grid, in voxels."""
PARALLEL = 2e-3
"""Maximum difference of the cosines of axes that count as parallel."""
SAME_MM = 1e-3
"""Maximum distance between frames of the same slice, mm."""
MAX_SLICES = 10_000
READER = "QuantitativeReporting"


def dicom_class(path: Path) -> str:
    """Read only the SOP class UID of a file; "" if it is not DICOM."""
    if not is_dicom(path):
        return ""
    try:
        with quiet(), path.open("rb") as file:
            return object_class(read_partial(file, lambda tag, vr, length: tag > 0x80016, force=True))
    except DAMAGED:
        return ""


def is_dicom_segmentation(path: Path) -> bool:
    """Tell whether a file is a DICOM Segmentation or RT Structure Set, whatever its name."""
    return dicom_class(path) in (*SEGMENTATIONS, STRUCTURES)


def is_structures(path: Path) -> bool:
    """Tell whether a file is an RT Structure Set, which needs the grid of an image or mask."""
    return dicom_class(path) == STRUCTURES


def read_dicom_segmentation(path: Path, like: Geometry | None = None) -> tuple[list[Segment], Geometry, list[str]]:
    """Read the segments of a DICOM Segmentation, or the regions of an RT Structure Set, with their names.

    The tag `NUMBER` of each segment holds its number. Masks are on their own grid: the pixels of the frames, and the
    slices from the first to the last frame. In fractional segmentations, voxels count as inside from one half on.

    Args:
        like: grid of the image, or of another mask of it. It gives the distance between slices, which the file need not
            state, and the position of the frames of an image without a position.

    Returns:
        The segments, their grid, and sentences for the user on how they were read.

    Raises:
        InputError: the file is damaged, its frames do not lie on a common grid, or see `read_structures`.
    """
    with reading(path):
        return _read(path, like)


def _read(path: Path, like: Geometry | None) -> tuple[list[Segment], Geometry, list[str]]:
    header = read_header(path)
    if object_class(header) == STRUCTURES:
        return read_structures(path, header, like)
    if int(header.get("InConcatenationTotalNumber") or 1) > 1:
        raise InputError(f"'{path}' is one of several files of a segmentation.", CONVERT.format(READER))
    names = {
        int(item.SegmentNumber): text(item, "SegmentLabel") or f"Segment {item.SegmentNumber}"
        for item in header.SegmentSequence
    }
    frames = frames_of(path, header)
    if not names or not frames:
        raise ValueError("it describes no segment, or has no frame")
    geometry, places = _grid(path, frames, like)
    stored, _ = decode(path, as_stored=True)
    if len(stored) < len(frames):
        raise ValueError(f"it holds {len(stored)} of {len(frames)} frames")
    notes = []
    if text(header, "SegmentationType").upper() == "FRACTIONAL":
        stored = stored >= int(header.get("MaximumFractionalValue") or 255) / 2
        notes.append(f"'{path}' holds fractions: voxels count as inside from one half on.")
    is_map = text(header, "SegmentationType").upper() == "LABELMAP"
    masks = {number: np.zeros((max(places) + 1, *stored.shape[1:]), bool) for number in names if number or not is_map}
    filled: set[tuple[int, int]] = set()
    for index, (place, pixels) in enumerate(zip(places, stored)):
        for number in masks if is_map else [_number(header, index)]:
            if (number, place) in filled:
                raise InputError(
                    f"'{path}' has several frames of segment {number} at one position, such as of several time points.",
                    CONVERT.format(READER),
                )
            if number not in masks:
                raise ValueError(f"frame {index + 1} is of segment {number}, which it does not describe")
            filled.add((number, place))
            masks[number][place] = pixels == number if is_map else pixels != 0
    return [Segment(names[n], mask, tags={NUMBER: f"{n}"}) for n, mask in masks.items()], geometry, notes


def _number(header: Dataset, index: int) -> int:
    """Return the number of the segment of a frame, from its own functional groups or those of all frames."""
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for groups in (header.PerFrameFunctionalGroupsSequence[index], *shared[:1]):
        if "SegmentIdentificationSequence" in groups:
            return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    raise ValueError(f"frame {index + 1} names no segment")


def _grid(path: Path, frames: Sequence[Frame], like: Geometry | None) -> tuple[Geometry, list[int]]:
    """Return the grid of the frames, and the slice index of each frame."""
    rows, columns = frames[0].pixel_spacing or (like.spacing[1::-1] if like else (1.0, 1.0))
    if all(frame.position is None for frame in frames) and len(frames) <= len(frames[0].header.SegmentSequence):
        return like or Geometry(spacing=(columns, rows, 1.0)), [0] * len(frames)  # a single image, such as a radiograph
    placed = [(frame.position, frame.orientation) for frame in frames]
    positions = np.array([position for position, _ in placed if position is not None])
    turns = np.array([axes for _, axes in placed if axes is not None])
    if not len(positions) == len(turns) == len(frames):
        raise InputError(f"'{path}' does not say where its frames lie in the patient.", "Export it again.")
    axes = turns[0]
    offsets = (positions - positions[0]) @ axes
    if (
        np.abs(turns - axes).max() > PARALLEL
        or (np.abs(offsets[:, :2]) > OFF_LATTICE * np.array([columns, rows])).any()
    ):
        raise InputError(
            f"The frames of '{path}' are turned or shifted against one another, as with a tilted gantry.",
            CONVERT.format(READER),
        )
    depths = offsets[:, 2] - offsets[:, 2].min()
    step = _step(path, frames[0], depths, axes, like)
    affine = np.eye(4)
    affine[:3, :3] = axes * (columns, rows, step)
    affine[:3, 3] = positions[depths.argmin()]
    return straight(affine, f"'{path}'", [], "Export it again."), np.rint(depths / step).astype(int).tolist()


def _step(path: Path, frame: Frame, depths: np.ndarray, axes: np.ndarray, like: Geometry | None) -> float:
    """Return the distance between slices, mm.

    It is the distance that the file states if its frames confirm it, else that of `like` if the frames fit it, else
    what the file states or the frames show.
    """
    levels = np.unique(depths)
    gaps = np.diff(levels[np.diff(levels, prepend=-np.inf) > SAME_MM])
    said = {key: abs((frame.numbers(key) or [0])[0]) for key in ("SpacingBetweenSlices", "SliceThickness")}
    along = np.abs(axes[:, 2] @ like.cosines) > 1 - PARALLEL if like else []
    of_grid = [step for step, fits in zip(like.spacing, along) if fits] if like else []
    stated = next((step for step in said.values() if step > 0), 0.0)
    own = [stated] if abs(gaps.min(initial=np.inf) - stated) < OFF_LATTICE * stated else []
    for step in (*own, *of_grid, said["SpacingBetweenSlices"], gaps.min(initial=np.inf), said["SliceThickness"], 1.0):
        if not 0 < step < np.inf:
            continue
        counts = np.rint(gaps / step)
        if counts.all() and counts.sum() < MAX_SLICES:
            exact = gaps.sum() / counts.sum() if gaps.size else step
            off = np.abs(np.cumsum(gaps) / exact - np.cumsum(counts)).max(initial=0)
            if off < OFF_LATTICE and abs(exact / step - 1) < OFF_LATTICE:
                return float(exact)
    raise InputError(f"The frames of '{path}' are unevenly spaced.", "Make it on evenly spaced slices, or resample it.")
