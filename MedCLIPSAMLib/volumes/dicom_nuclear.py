"""Groups of nuclear medicine frames: by energy window, detector, time slot and the like."""

from __future__ import annotations

from collections.abc import Sequence

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_phases import FrameGroup, group_by
from MedCLIPSAMLib.volumes.dicom_steps import VECTORS

APART = ("EnergyWindowVector", "DetectorVector", "RotationVector")
"""Vectors that separate views through the body; times and angles form a loop of them."""


def take_for_views(frames: Sequence[Frame]) -> None:
    """Mark images as views through the body if their type says so and all state the same position."""
    places = {None if frame.position is None else tuple(frame.position.round(2)) for frame in frames}
    if len(frames) > 1 and len(places) == 1 and all(frame.has_type_of_views for frame in frames):
        for frame in frames:
            frame.position, frame.orientation, frame.is_projection = None, None, True


def split_views(frames: Sequence[Frame]) -> list[FrameGroup]:
    """Split the frames of nuclear medicine by energy window, detector, gate and time; other images are one group."""
    names = [
        name
        for name in (APART if frames[0].is_projection else VECTORS)
        if len({frame.own.get(name, 0) for frame in frames}) > 1
    ]
    groups = group_by(frames, lambda frame: tuple(frame.own.get(name, 0) for name in names))
    return [
        FrameGroup(", ".join(f"{VECTORS[name]} {number}" for name, number in zip(names, key)), groups[key])
        for key in sorted(groups)
    ]
