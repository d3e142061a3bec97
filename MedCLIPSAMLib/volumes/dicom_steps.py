"""The frames of a file that gives the place of the first one: what each is of, and where it lies."""

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
"""What the frames of nuclear medicine differ in beside the slice (PS3.3 C.8.4.8): a number for each, from 1."""
SLICE = "SliceVector"
TIMES = ("FrameTime", "FrameTimeVector")
PLACES = (SLICE, "GridFrameOffsetVector")


def follow_time(header: Dataset) -> bool:
    """Tell whether the frames of a file follow one another in time, by Frame Increment Pointer, or by what is there.

    A cine loop may have kept the position and the distance of slices of the series that it was made of.
    """
    tags = numbers(header.get("FrameIncrementPointer"))
    if "PerFrameFunctionalGroupsSequence" in header or (not tags and header.get("Modality") == "NM"):
        return False
    named = lambda names: any(tag_for_keyword(name) in tags if tags else name in header for name in names)
    return named(TIMES) and not named((*PLACES, *VECTORS))


def step_places(header: Dataset, count: int) -> list[dict[str, Any]]:
    """Compute the places of frames from the first one's, by offsets or a step along the normal that may be negative.

    Slices of nuclear medicine are counted by their vector, else in each energy window, time and so on for itself. The
    numbers of a frame in the vectors of nuclear medicine are tags of it. Without offsets and step, the frames are no
    stack (a cine loop), and have no places.
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
    """Return the vectors of nuclear medicine that count frames.

    Those that Frame Increment Pointer names count alone, where it names any: others are left over (PS3.3 C.8.4.8). One
    number for all slices tells no slices apart.
    """
    tags = numbers(header.get("FrameIncrementPointer"))
    named = [name for name in (*VECTORS, SLICE) if tag_for_keyword(name) in tags]
    known = {name: numbers(header.get(name)) for name in named or (*VECTORS, SLICE)}
    vectors = {name: [int(value) for value in values] for name, values in known.items() if len(values) == count}
    if len(set(vectors.get(SLICE, ()))) == 1:
        del vectors[SLICE]
    return vectors


def _count_slices(frames: list[dict[str, Any]]) -> list[int]:
    """Count frames in their order, those of each energy window, time and so on for themselves."""
    seen: Counter[tuple] = Counter()
    slices = []
    for frame in frames:
        seen[tuple(frame.values())] += 1
        slices.append(seen[tuple(frame.values())])
    return slices
