"""Voxels of DICOM images, in the units of the modality with high values bright, and how to display them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_decode import decode
from MedCLIPSAMLib.volumes.dicom_header import Frame
from MedCLIPSAMLib.volumes.dicom_padding import without_padding
from MedCLIPSAMLib.volumes.dicom_pixel_tags import frame_count, stored_range
from MedCLIPSAMLib.volumes.dicom_tables import modality_table, voi_curve
from MedCLIPSAMLib.volumes.window import Curve

SCALE = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
"""Tags of the linear rescaling from stored values to units, and the values used if they are missing."""
DEEP_NOTE = "16-bit RGB was reduced to 8-bit."


def read_voxels(frames: Sequence[Frame], notes: list[str]) -> tuple[np.ndarray, float | None]:
    """Read the voxels of images in their order.

    Args:
        frames: the images.
        notes: receives notes for the user.

    Returns:
        (K, J, I) in the units of the modality, or (K, J, I, 3) uint8. If high values of the middle image were dark, and
        it was inverted, also the sum of an original and an inverted value; otherwise None.

    Raises:
        InputError: the files are damaged, or compressed in an unsupported way.
    """
    by_path: dict[Path, list[Frame]] = {}
    for frame in frames:
        by_path.setdefault(frame.path, []).append(frame)
    found: dict[Frame, np.ndarray] = {}
    padding: dict[Frame, np.ndarray] = {}
    for path, of_file in by_path.items():
        decoded, padded = decode(path, notes)
        if len(decoded) > (count := frame_count(of_file[0].header)):
            notes.append(f"'{path.name}' has {len(decoded)} frames but declares {count}: the others were left out.")
        for frame in of_file:
            if frame.index >= len(decoded):
                raise InputError(
                    f"Expected {frame_count(frame.header)} frames in '{path}', got {len(decoded)}.",
                    "Copy or export it again.",
                )
            stored = decoded[frame.index]
            found[frame] = stored if stored.ndim == 3 else _in_units(stored, frame)
            if padded is not None:
                padding[frame] = padded[frame.index]
    voxels = [found[frame] for frame in frames]
    if voxels[0].ndim == 3:
        if any(frame.dtype not in (np.uint8, np.uint16) for frame in voxels):
            raise InputError(f"'{frames[0].path}' has colors of {voxels[0].dtype}.", "Save it as 8-bit RGB.")
        if any(frame.dtype != np.uint8 for frame in voxels):
            notes.append(DEEP_NOTE)
            voxels = [_of_8_bits(stored, frame) for stored, frame in zip(voxels, frames)]
        return np.stack(voxels), None
    notes += _scale_notes(frames, [frame for frame in frames if found[frame].any()])
    array, total = _bright_is_high(_fitting(np.stack(voxels)), frames, notes)
    if padding:
        none = np.zeros(array.shape[1:], bool)
        padded = np.stack([padding.get(frame, none) for frame in frames])
        array = without_padding(array, padded, frames[0].text("Modality"), notes)
    return array, total


def _of_8_bits(colors: np.ndarray, frame: Frame) -> np.ndarray:
    """Scale colors to 8 bits by the number of bits that the file declares as used."""
    if colors.dtype == np.uint8:
        return colors
    high = stored_range(frame.header)[1]
    return np.rint(colors * (255 / high)).astype(np.uint8)


def _bright_is_high(array: np.ndarray, frames: Sequence[Frame], notes: list[str]) -> tuple[np.ndarray, float | None]:
    """Invert the images of a stack whose own tag requires it; also return the sum for the middle image."""
    dark = [k for k, frame in enumerate(frames) if frame.kind_of_pixels == "MONOCHROME1"]
    if not dark:
        return array, None
    where = "" if len(dark) == len(frames) else f" in {len(dark)} of {len(frames)} images"
    notes.append(f"High values are dark in the file{where} (MONOCHROME1): they were inverted.")
    example = frames[dark[len(dark) // 2]]
    low, high = stored_range(example.header)
    ends = _in_units(np.array([low, high]), example)
    total = float(ends[0]) + float(ends[-1])
    kind: np.dtype = np.dtype(np.float32)
    if array.dtype.kind in "iu" and total.is_integer():
        extremes = np.array([[image.min(), image.max()] for image in array], np.int64)
        extremes[dark] = int(total) - extremes[dark]
        limits = np.iinfo(array.dtype)
        fits = limits.min <= extremes.min() and extremes.max() <= limits.max
        kind = array.dtype if fits else _fitting(extremes).dtype
    inverted = array.astype(kind, copy=False)
    for k in dark:
        inverted[k] = total - array[k].astype(np.float64)
    return inverted, total if len(frames) // 2 in dark else None


def shown_by(frames: Sequence[Frame], total: float | None) -> tuple[tuple[float, float] | None, Curve | None]:
    """Return the window (center, width) and the curve of the middle image, for the voxels of `read_voxels`.

    If it has neither, they are those of the nearest image with the same photometric interpretation that has. A table of
    values (VOI LUT) takes precedence over a window.
    """
    middle = len(frames) // 2
    kind = frames[middle].kind_of_pixels
    nearest = sorted(range(len(frames)), key=lambda k: abs(k - middle))
    alike = (frames[k] for k in nearest if frames[k].kind_of_pixels == kind)
    frame = next((frame for frame in alike if _window(frame) or voi_curve(frame)), frames[middle])
    curve, window = voi_curve(frame), _window(frame)
    if window and curve is None and frame.text("VOILUTFunction") == "SIGMOID":
        curve = Curve.sigmoid(*window)
    if total is not None:
        window = None if window is None else (total - window[0], window[1])
        curve = None if curve is None else curve.mirror(total)
    return window, curve


def _window(frame: Frame) -> tuple[float, float] | None:
    """Return the first usable window (center, width); None if there is none."""
    pairs = zip(frame.numbers("WindowCenter"), frame.numbers("WindowWidth"))
    return next(((center, width) for center, width in pairs if width > 0 and np.isfinite([center, width]).all()), None)


def full_window(frame: Frame) -> tuple[float, float] | None:
    """Return the window (center, width) of all values of an image of fewer than 8 bits; None for other images."""
    low, high = stored_range(frame.header)
    if high - low >= 255:
        return None
    ends = _in_units(np.array([low, high]), frame)
    return (float(ends[0]) + float(ends[1])) / 2, abs(float(ends[1]) - float(ends[0]))


def _in_units(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Convert stored values to units of the modality, such as Hounsfield units, by a table or slope and intercept."""
    table = modality_table(frame, stored.min() < 0 or frame.header.get("PixelRepresentation") == 1)
    if table is not None:
        first, outputs = table
        return outputs[np.clip(stored.astype(np.int64) - first, 0, len(outputs) - 1)].astype(np.int32)
    slope, intercept = (_usable(frame, keyword) or unused for keyword, unused in SCALE.items())
    if slope == 1 and intercept == 0:
        return stored
    if float(slope).is_integer() and float(intercept).is_integer() and stored.dtype.kind in "iu":
        return _fitting(stored.astype(np.int64) * int(slope) + int(intercept))
    return (stored * np.float64(slope) + intercept).astype(np.float32)


def _usable(frame: Frame, keyword: str) -> float | None:
    """Return the slope or intercept; None if it is not a finite number, or a slope of 0."""
    value = (frame.numbers(keyword) or [np.nan])[0]
    return None if not np.isfinite(value) or (keyword == "RescaleSlope" and value == 0) else value


def _scale_notes(frames: Sequence[Frame], scaled: Sequence[Frame]) -> list[str]:
    """Make notes on slopes and intercepts that cannot be used.

    Args:
        scaled: images whose values are not all 0; an empty slice of PET has a slope of 0.
    """
    notes = []
    for keyword, unused in SCALE.items():
        useless = [frame.text(keyword) for frame in scaled if frame.text(keyword) and _usable(frame, keyword) is None]
        if useless:
            notes.append(
                f"{keyword} is '{useless[0]}' in {len(useless)} of {len(frames)} images, which cannot be used: "
                f"{unused:g} was used, so their values have no units."
            )
    return notes


def _fitting(array: np.ndarray) -> np.ndarray:
    """Cast an array to the smallest common type of at least 16 bits that holds its values; integers stay integers."""
    if array.dtype == np.float64 and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind in "iu" and array.itemsize > 2:
        low, high = int(array.min()), int(array.max())
        fitting = (kind for kind in (np.int16, np.uint16, np.int32, np.uint32) if np.iinfo(kind).min <= low)
        return array.astype(next((kind for kind in fitting if high <= np.iinfo(kind).max), np.float32))
    return array.astype(np.float32) if array.dtype == np.float64 else array
