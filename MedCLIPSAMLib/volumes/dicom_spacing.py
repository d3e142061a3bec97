"""Pixel size of DICOM images: from which tag, and where 3D Slicer uses another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from MedCLIPSAMLib.counted import counted
from MedCLIPSAMLib.volumes.dicom_header import REGIONS, SPACINGS, STORAGE, Frame, object_class, ultrasound_spacing
from MedCLIPSAMLib.volumes.dicom_values import shown

TOMOGRAPHY = ("CT", "MR", "PT", "NM")
"""Modalities whose images belong together even if they carry no positions."""
GDCM_TAGS = {
    "PixelSpacing": ("2", "3", "3.1", "4", "6", "6.1", "7", "20", "128"),
    "ImagerPixelSpacing": ("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "12.1", "12.2", "12.3"),
    "NominalScannedPixelSpacing": ("7",),
    "ImagePlanePixelSpacing": ("481.1",),
}
"""Tags from which GDCM (ITK, 3D Slicer) takes the pixel size, with the classes after `STORAGE`; otherwise 1 mm."""


def pixel_spacing(frames: Sequence[Frame], notes: list[str]) -> tuple[float, float]:
    """Return the pixel size (between rows, between columns) in mm; if unknown, from the aspect ratio, or 1."""
    first = frames[0]
    known = [frame.pixel_spacing for frame in frames if frame.pixel_spacing is not None]
    if known:
        spacing = Counter(known).most_common(1)[0][0]
        low, high = np.min(known), np.max(known)
        if any(not np.allclose(step, spacing, rtol=1e-3) for step in known):
            notes.append(
                f"Pixels of the slices differ in size ({low:.3g} to {high:.3g} mm): {_format(spacing)} mm is used for "
                "all, so positions on some slices are wrong."
            )
    else:
        aspect = first.numbers("PixelAspectRatio")
        spacing = (aspect[0] / aspect[1], 1.0) if len(aspect) == 2 and min(aspect) > 0 else (1.0, 1.0)
        if first.text("Modality") in TOMOGRAPHY:
            notes.append("The DICOM images do not say how large a pixel is: 1 mm was assumed.")
    better = SPACINGS[: SPACINGS.index(first.spacing_tag)] if first.spacing_tag else SPACINGS
    for name in better:
        if first.text(name):
            notes.append(f"{name} is {shown(first.get(name))}, not a pixel size: {_format(spacing)} mm was used.")
    of_region = ultrasound_spacing(first.header)
    slicer = _gdcm_spacing(Frame(first.path, first.header) if of_region else first)
    other = "" if slicer is None or np.allclose(slicer, spacing, rtol=1e-3) else f"pixels of {_format(slicer)} mm"
    if of_region:
        scalar = f" A scalar volume has {other} there, so masks do not fit it." if other else ""
        notes.append(
            f"Lengths and areas hold in the ultrasound region, whose pixels of {_format(spacing)} mm are used for the "
            f"image, as when 3D Slicer loads it as an image sequence.{scalar}"
        )
        return spacing
    if first.get(REGIONS) and not known:
        notes.append(
            "The pixel size is treated as unknown: 3D Slicer reads it from a single ultrasound region of tissue or "
            f"flow in cm, and the image has {counted(len(first.get(REGIONS)), 'region')}."
        )
    if other:
        notes.append(
            f"3D Slicer reads this kind of file with {other}, not of {_format(spacing)} mm "
            f"({first.spacing_tag or 'PixelAspectRatio'}), so masks do not fit the image that it loads."
        )
    return spacing


def _gdcm_spacing(frame: Frame) -> tuple[float, float] | None:
    """Return the pixel size that GDCM uses; None if functional groups give it, or without a standard class."""
    whole = object_class(frame.header)
    if "PerFrameFunctionalGroupsSequence" in frame.header or not whole.startswith(STORAGE):
        return None
    own = whole.removeprefix(STORAGE)
    for keyword, classes in GDCM_TAGS.items():
        values = frame.numbers(keyword) if own in classes else []
        if len(values) == 2 and min(values) > 0:
            return values[0], values[1]
    return 1.0, 1.0


def _format(spacing: tuple[float, float]) -> str:
    return f"{spacing[1]:.3g} x {spacing[0]:.3g}"
