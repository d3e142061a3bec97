"""Frames of a file that gives only the position of the first: what each frame shows, and its position."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from MedCLIPSAMLib.volumes.dicom_values import numbers

VECTORS = {
    "EnergyWindowVector": "energy window",
    "DetectorVector": "detector",
    "PhaseVector": "phase",
    "RotationVector": "rotation",
    "RRIntervalVector": "R-R interval",
    "TimeSlotVector": "time slot",
    "TimeSliceVector": "time slice",
    "AngularViewVector": "angular view",
}
"""What frames of nuclear medicine differ in beside the slice (PS3.3 C.8.4.8); each vector has a number per frame."""
SLICE = "SliceVector"
TIMES = ("FrameTime", "FrameTimeVector")
PLACES = (SLICE, "GridFrameOffsetVector")


def follow_time(header: Dataset) -> bool:
    """Tell whether the frames of a file follow one another in time, by Frame Increment Pointer or the tags present.

    A cine loop may have kept the position and slice distance of the series from which it was made.
    """
    tags = numbers(header.get("FrameIncrementPointer"))
    if "PerFrameFunctionalGroupsSequence" in header or (not tags and header.get("Modality") == "NM"):
        return False
    named = lambda names: any(tag_for_keyword(name) in tags if tags else name in header for name in names)
    return named(TIMES) and not named((*PLACES, *VECTORS))


def step_places(header: Dataset, count: int) -> list[dict[str, Any]]:
    """Compute the positions of frames from that of the first, by offsets or a step along the normal.

    The step may be negative. Slices of nuclear medicine are numbered by their vector, otherwise counted within each
    energy window, time and so on. Without offsets and step, the frames form no stack (a cine loop) and have no
    positions.

    Returns:
        The tags of each frame: its position, orientation, and numbers in the vectors of nuclear medicine.
    """
    vectors = _vectors(header, count)
    frames: list[dict[str, Any]] = [{name: values[index] for name, values in vectors.items()} for index in range(count)]
    slices = vectors.get(SLICE) or _count_slices(frames)
    offsets, step = numbers(header.get("GridFrameOffsetVector")), numbers(header.get("SpacingBetweenSlices"))
    if follow_time(header):
        offsets = []
    elif len(offsets) != count:
        offsets = [(number - slices[0]) * step[0] for number in slices] if step and step[0] else []
    detectors = header.get("DetectorInformationSequence") or []
    for index, frame in enumerate(frames):
        own = detectors[min(max(frame.get("DetectorVector", 1), 1), len(detectors)) - 1] if detectors else header
        first = own if "ImagePositionPatient" in own else header
        origin, axes = numbers(first.get("ImagePositionPatient")), numbers(first.get("ImageOrientationPatient"))
        if len(origin) == 3 and len(axes) == 6:
            normal = np.cross(axes[:3], axes[3:])
            place = (np.array(origin) + offsets[index] * normal).tolist() if offsets else []
            frame.update(ImagePositionPatient=place, ImageOrientationPatient=axes)
    return frames


def _vectors(header: Dataset, count: int) -> dict[str, list[int]]:
    """Return the vectors of nuclear medicine that have a number for each frame.

    If Frame Increment Pointer names any, only these are used, because others may be leftovers (PS3.3 C.8.4.8). A slice
    vector with the same number for all frames is ignored.
    """
    tags = numbers(header.get("FrameIncrementPointer"))
    named = [name for name in (*VECTORS, SLICE) if tag_for_keyword(name) in tags]
    known = {name: numbers(header.get(name)) for name in named or (*VECTORS, SLICE)}
    vectors = {name: [int(value) for value in values] for name, values in known.items() if len(values) == count}
    if len(set(vectors.get(SLICE, ()))) == 1:
        del vectors[SLICE]
    return vectors


def _count_slices(frames: list[dict[str, Any]]) -> list[int]:
    """Count frames in their order, separately for each energy window, time and so on."""
    seen: Counter[tuple] = Counter()
    slices = []
    for frame in frames:
        seen[tuple(frame.values())] += 1
        slices.append(seen[tuple(frame.values())])
    return slices
