"""Display windows, which map intensities to black and white, and curves for what a window cannot express."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

import numpy as np

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.volume import Volume

Window: TypeAlias = str | tuple[float, float] | None
FROM_FILE: tuple[Window, ...] = (None, "file")
"""Windows for which a curve in the file is used."""

# Usual CT reading windows in Hounsfield units: (center, width).
PRESETS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "abdomen": (40.0, 400.0),
    "liver": (60.0, 160.0),
    "soft tissue": (50.0, 350.0),
    "brain": (40.0, 80.0),
    "stroke": (35.0, 40.0),
    "subdural": (75.0, 215.0),
    "bone": (400.0, 1800.0),
    "angio": (300.0, 600.0),
}
PERCENTILES = (0.5, 99.5)
SAMPLE = 2_000_000
USEFUL_SHARE = 0.01  # a window in the file is ignored if it shows no larger share of the foreground in gray


@dataclass(frozen=True, eq=False)
class Curve:
    """Brightness as a function of value, linear between the points and constant beyond them.

    Attributes:
        values: ascending values, (n,).
        brightness: 0 for black to 1 for white, (n,).
    """

    values: np.ndarray
    brightness: np.ndarray

    @property
    def range(self) -> tuple[float, float]:
        """Values (low, high) between which the brightness changes."""
        changes = np.flatnonzero(np.diff(self.brightness))
        if not changes.size:
            return float(self.values[0]), float(self.values[-1])
        return float(self.values[changes[0]]), float(self.values[changes[-1] + 1])

    def to_uint8(self, array: np.ndarray) -> np.ndarray:
        """Map values of any shape to 0..255, rounded."""
        shown = np.interp(array.ravel(), self.values, self.brightness).reshape(array.shape)
        return np.rint(shown * 255).astype(np.uint8)

    def mirror(self, total: float) -> Curve:
        """Return the curve for inverted voxels, in which v becomes `total` - v."""
        return Curve(total - self.values[::-1], 1 - self.brightness[::-1])

    @staticmethod
    def sigmoid(center: float, width: float) -> Curve:
        """Make DICOM's SIGMOID function (PS3.3 C.11.2.1.3.1), linear between 513 points."""
        values = np.linspace(center - 2 * width, center + 2 * width, 513)
        return Curve(values, 1 / (1 + np.exp(-4 * (values - center) / width)))


def window_range(volume: Volume, window: Window = None) -> tuple[float, float]:
    """Return the (low, high) intensities that become 0 and 255, the same for all slices of the volume.

    Args:
        window: the name of a preset, "file", "percentiles", (low, high), or None for the best one known. That is the
            first that applies of the window of the file (unless it turns almost everything black or white), the stored
            values of 8-bit images, "soft tissue" for CT with values below 0, and percentiles.

    Raises:
        InputError: the name is unknown, the window is "file" and the file has none, or low >= high.
    """
    if volume.curve is not None and window in FROM_FILE:
        return volume.curve.range
    if window is None:
        return _best_range(volume)
    check_window(window)
    if not isinstance(window, str):
        low, high = (float(value) for value in window)
        return low, high
    if window == "percentiles":
        return percentile_range(volume.array)
    if window == "file":
        if volume.window is None:
            raise InputError(f"'{volume.name}' has no display window.", "Choose 'percentiles', a preset or two values.")
        return _around(*volume.window)
    return _around(*PRESETS[window])


def check_window(window: Window) -> None:
    """Refuse a window that is invalid for every volume.

    Raises:
        InputError: the name is unknown, low >= high, or the window is neither a name nor two numbers.
    """
    if isinstance(window, str):
        names = ("file", "percentiles", *PRESETS)
        if window not in names:
            close = get_close_matches(window, names, n=1)
            raise InputError(
                f"Expected a window of {', '.join(names)}, or low and high, got '{window}'.",
                f"Did you mean '{close[0]}'?" if close else "Two values are -1000:400, in Python (-1000, 400).",
            )
    elif window is not None:
        try:
            low, high = (float(value) for value in window)
        except (TypeError, ValueError):
            raise InputError(f"Expected a window as (low, high), got {window!r}.", "Give two numbers.") from None
        if not low < high:
            raise InputError(
                f"The window ({low:g}, {high:g}) is empty.", "Give the low value first, then the high one."
            )


def percentile_range(array: np.ndarray) -> tuple[float, float]:
    """Compute the 0.5 and 99.5 percentiles of the voxels above the lowest value.

    The lowest value is assumed to be background: padding outside the field of view, or zeros around a skull-stripped
    head. In large volumes, a sample of two million voxels with a fixed seed is used.
    """
    lowest, foreground = _foreground(array)
    if foreground.size == 0:
        return lowest, lowest
    low, high = np.percentile(foreground, PERCENTILES)
    return float(low) if low < high else lowest, float(high)


def to_uint8(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map intensities of any shape to 0..255, linear between low and high, rounded; 0 if low == high, and for NaN."""
    if not low < high:
        return np.zeros(array.shape, np.uint8)
    above = array.astype(np.result_type(array.dtype, np.float32)) - low  # in 64 bits if 32 cannot hold the values
    scaled = np.clip(above.astype(np.float32, copy=False) * (255.0 / (high - low)), 0, 255)
    if array.dtype.kind == "f":
        np.nan_to_num(scaled, copy=False)
    return np.rint(scaled).astype(np.uint8)


def _best_range(volume: Volume) -> tuple[float, float]:
    as_stored = volume.natural and volume.array.dtype == np.uint8
    if volume.window is not None:
        low, high = _around(*volume.window)
        if as_stored and low <= 0 and high >= 255:
            return 0.0, 255.0
        if as_stored and low == 0 and high >= volume.array.max():  # the full range of fewer bits
            return low, high
        foreground = _foreground(volume.array)[1]
        if np.count_nonzero((foreground > low) & (foreground < high)) > USEFUL_SHARE * foreground.size:
            return low, high
    if as_stored:
        return 0.0, 255.0
    if volume.modality == "CT" and volume.array.min() < 0:  # air is below 0 in HU
        return _around(*PRESETS["soft tissue"])
    return percentile_range(volume.array)


def _foreground(array: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the lowest finite value, and the values above it (a sample of them in large volumes)."""
    values = array.reshape(-1)
    if values.size > SAMPLE:
        values = values[np.random.default_rng(0).integers(0, values.size, SAMPLE)]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, values
    lowest = values.min()
    return float(lowest), values[values > lowest]


def _around(center: float, width: float) -> tuple[float, float]:
    return center - width / 2, center + width / 2
