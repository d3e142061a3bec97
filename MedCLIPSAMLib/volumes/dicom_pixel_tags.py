"""Tags on how pixels are stored, completed if a file lacks some of them."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset

from MedCLIPSAMLib.volumes.dicom_values import numbers

GRAY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLORS = ("RGB", "YBR")
"""Beginnings of photometric interpretations with three samples per pixel."""
HALF_COLORS = "YBR_FULL_422"
"""Photometric interpretation in which, without compression, only every second pixel of a row has colors."""


def frame_count(dataset: Dataset) -> int:
    """Return the number of frames that a file declares; 1 if it declares none."""
    return max(int((numbers(dataset.get("NumberOfFrames")) or [1])[0]), 1)


def stored_range(dataset: Dataset) -> tuple[int, int]:
    """Return the lowest and the highest storable value."""
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.get("PixelRepresentation") == 1 else (0, 2**bits - 1)


def complete_pixel_tags(dataset: Dataset) -> list[str]:
    """Set missing tags to what other readers assume, gray with all available bits, and return notes on them.

    If the number of samples is missing, it is three for a photometric interpretation in colors.
    """
    notes = []
    if kind := str(dataset.get("PhotometricInterpretation") or "").upper():
        dataset.PhotometricInterpretation = kind
    if dataset.get("SamplesPerPixel") is None:
        notes.append(_set(dataset, "SamplesPerPixel", 3 if kind.startswith(COLORS) else 1))
    samples = int(dataset.SamplesPerPixel or 1)
    gray = samples == 1
    if not kind or (gray and kind not in GRAY) or (samples == 3 and kind.startswith("MONOCHROME")):
        notes.append(_set(dataset, "PhotometricInterpretation", "MONOCHROME2" if gray else "RGB"))
    if samples == 3 and dataset.get("PlanarConfiguration") is None:
        notes.append(_set(dataset, "PlanarConfiguration", 0))
    if "PixelData" in dataset:
        if kind == HALF_COLORS and not dataset["PixelData"].is_undefined_length:
            size = 3 * int(dataset.Rows) * int(dataset.Columns) * frame_count(dataset)
            if size <= len(dataset.PixelData) <= size + 2:  # all pixels have colors
                notes.append(_set(dataset, "PhotometricInterpretation", "YBR_FULL"))
        bits = dataset.get("BitsAllocated")
        if bits is None and not dataset["PixelData"].is_undefined_length:
            count = int(dataset.Rows) * int(dataset.Columns) * samples * frame_count(dataset)
            bits = next((size for size in (32, 16, 8) if count and len(dataset.PixelData) * 8 // count == size), None)
            notes += [] if bits is None else [_set(dataset, "BitsAllocated", bits)]
        if bits is not None and not dataset.get("BitsStored"):
            used = dataset.get("HighBit")
            notes.append(_set(dataset, "BitsStored", int(bits) if used is None else int(used) + 1))
        if bits is not None and dataset.get("HighBit") is None:
            notes.append(_set(dataset, "HighBit", int(dataset.BitsStored) - 1))
        if dataset.get("PixelRepresentation") is None:
            notes.append(_set(dataset, "PixelRepresentation", 0))
    return notes


def _set(dataset: Dataset, keyword: str, value: Any) -> str:
    stated = f"'{found}'" if (found := dataset.get(keyword)) else "missing"
    setattr(dataset, keyword, value)
    return f"{keyword} is {stated}: {value} was taken."
