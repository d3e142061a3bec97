"""The brightness of values where a window cannot express it: a table, or the sigmoid of DICOM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Curve:
    """Brightness by value, straight between the points and level beyond them.

    Attributes:
        values: ascending, (n,).
        brightness: 0 black to 1 white, (n,).
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
        """Return the curve for inverted voxels, v to `total` - v."""
        return Curve(total - self.values[::-1], 1 - self.brightness[::-1])

    @staticmethod
    def sigmoid(center: float, width: float) -> Curve:
        """Make DICOM's SIGMOID function (PS3.3 C.11.2.1.3.1), straight between 513 points."""
        values = np.linspace(center - 2 * width, center + 2 * width, 513)
        return Curve(values, 1 / (1 + np.exp(-4 * (values - center) / width)))
