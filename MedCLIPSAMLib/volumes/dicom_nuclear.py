"""The frames of nuclear medicine by what they are of: energy windows, detectors, time slots and the like."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_phases import FrameGroup
from MedCLIPSAMLib.volumes.dicom_steps import VECTORS

APART = ("EnergyWindowVector", "DetectorVector", "RotationVector")
"""What sets views through the body apart; times and angles make a loop of them."""


def split_views(frames: Sequence[Frame]) -> list[FrameGroup]:
    """Split the frames of nuclear medicine by energy window, detector, gate and time; other images are one group."""
    names = [
        name
        for name in (APART if frames[0].is_projection else VECTORS)
        if len({frame.own.get(name, 0) for frame in frames}) > 1
    ]
    groups: dict[tuple[int, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[tuple(frame.own.get(name, 0) for name in names)].append(frame)
    return [
        FrameGroup(", ".join(f"{VECTORS[name]} {number}" for name, number in zip(names, key)), groups[key])
        for key in sorted(groups)
    ]
