"""Statistics of segments: voxels, ml and mm²."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from MedCLIPSAMLib.volumes.segment import Segment
from MedCLIPSAMLib.volumes.volume import Volume


@dataclass(frozen=True)
class SegmentStatistics:
    """The size of one segment.

    Attributes:
        segment: name of the segment.
        voxels: number of voxels, or of pixels in an image.
        slices: number of slices that contain some, in the plane that was segmented.
        ml: volume; None for an image, which has no depth.
        mm2: area in an image, the largest of several (a cine loop); None for a volume, and if the pixel size is
            unknown.
    """

    segment: str
    voxels: int
    slices: int
    ml: float | None
    mm2: float | None

    @property
    def size(self) -> str:
        """Size as text for the user."""
        if self.ml is not None:
            return f"{self.ml:.3f} ml"
        return f"{self.mm2:.1f} mm²" if self.mm2 is not None else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return {**asdict(self), "spacing": "unknown" if self.ml is None and self.mm2 is None else "known"}


def measure(segment: Segment, volume: Volume, axis: str = "K") -> SegmentStatistics:
    """Measure a segment on the grid of `volume`.

    Args:
        axis: axis of the grid along which the slices follow one another: "I", "J" or "K".
    """
    in_slice = tuple(number for number, name in enumerate("KJI") if name != axis)
    voxels, slices = int(segment.mask.sum()), int(segment.mask.any(in_slice).sum())
    if not volume.known_spacing:
        return SegmentStatistics(segment.name, voxels, slices, None, None)
    if volume.natural:
        i, j, _ = volume.geometry.spacing
        pixels = int(segment.mask.sum(axis=in_slice).max())
        area = pixels * i * j / volume.magnification**2
        return SegmentStatistics(segment.name, voxels, slices, None, round(area, 4))
    return SegmentStatistics(segment.name, voxels, slices, round(voxels * volume.geometry.voxel_ml, 6), None)
