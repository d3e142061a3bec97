"""The frames of nuclear medicine by what they are of: energy windows, detectors, time slots and the like."""

from __future__ import annotations

from collections.abc import Sequence

from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_phases import FrameGroup, group_by
from MedCLIPSAMLib.volumes.dicom_steps import VECTORS

APART = ("EnergyWindowVector", "DetectorVector", "RotationVector")
"""What sets views through the body apart; times and angles make a loop of them."""


def take_for_views(frames: Sequence[Frame]) -> None:
    """Take images with the type of views through the body for views where all state one place: it is no slice's."""
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
