"""Building blocks of the phantoms: coordinates, smooth noise, and blobs with a rough or spiculated outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .phantom import SIZE

ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)


def noise(rng: np.random.Generator, sigma: float | tuple[float, float]) -> np.ndarray:
    """Draw Gaussian noise smoothed by `sigma` pixels (one value or (rows, columns)), with mean 0 and std 1."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)).astype(np.float32), sigma, mode="wrap")
    return (smooth - smooth.mean()) / (smooth.std() + 1e-6)


def blob(
    rng: np.random.Generator,
    center: tuple[float, float],
    radii: tuple[float, float],
    angle: float = 0.0,
    roughness: float = 0.05,
    spikes: float = 0.0,
) -> np.ndarray:
    """Draw a random star-shaped region as its signed depth, (SIZE, SIZE) float32: 1 at the center, 0 on the outline.

    Args:
        center: (row, column) in pixels.
        radii: (along rows, along columns) in pixels before the rotation by `angle` (radians).
        roughness: standard deviation of the low harmonics of the outline, relative to the radius.
        spikes: the same for the high harmonics, for spiculated margins.
    """
    rows, columns = ROWS - np.float32(center[0]), COLUMNS - np.float32(center[1])
    v = (np.cos(angle) * rows + np.sin(angle) * columns) / radii[0]
    u = (-np.sin(angle) * rows + np.cos(angle) * columns) / radii[1]
    theta = np.arctan2(v, u).astype(np.float32)
    outline = np.ones_like(theta)
    waves = [(harmonic, roughness / np.sqrt(harmonic - 1)) for harmonic in range(2, 6)]
    waves += [(harmonic, spikes) for harmonic in range(7, 15, 2)]
    for harmonic, amplitude in waves:
        if amplitude:
            outline += amplitude * rng.normal() * np.cos(harmonic * theta + rng.uniform(0, 2 * np.pi))
    return (1.0 - np.hypot(v, u) / np.maximum(outline, 0.3)).astype(np.float32)


@dataclass(frozen=True)
class Cut:
    """The place where a slice cuts a region of a volume.

    Args:
        size: radius in the slice, as a fraction of the largest; 0 if the slice does not cut the region.
        apart: for a region that has split into two, shift in pixels of the parts to the left and to the right.
    """

    size: float = 1.0
    apart: float = 0.0


WHOLE = Cut()


def cut(depth: np.ndarray, at: Cut) -> np.ndarray:
    """Compute the signed depth of a region (see `blob`) in another slice."""
    if at == WHOLE:
        return depth
    if at.size <= 0:
        return np.full_like(depth, -9)
    depth = 1 - (1 - depth) / np.float32(at.size)
    if at.apart:
        halves = (ndimage.shift(depth, (0, side * at.apart), order=1, mode="nearest") for side in (-1, 1))
        depth = np.maximum(*halves)
    return depth


def edge(depth: np.ndarray, radius: float, width: float = 1.0) -> np.ndarray:
    """Compute the soft membership of a region, 0 to 1, from `depth` (see `blob`).

    Args:
        radius: radius of the region in pixels.
        width: approximate width of the soft edge in pixels.
    """
    return 1.0 / (1.0 + np.exp(np.clip(-depth * radius / (0.5 * width), -30, 30)))


def paint(image: np.ndarray, membership: np.ndarray, value: np.ndarray | float) -> np.ndarray:
    """Blend `value` into `image` by `membership`, 0 to 1."""
    return image * (1.0 - membership) + value * membership


def random_position(rng: np.random.Generator, allowed: np.ndarray) -> tuple[float, float]:
    """Draw a random (row, column) inside the bool mask `allowed`."""
    rows, columns = np.nonzero(allowed)
    index = rng.integers(len(rows))
    return float(rows[index]), float(columns[index])


def to_uint8(image: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Map `image` from [low, high] to 0..255, clipped, uint8."""
    return np.clip((image - low) / (high - low) * 255.0 + 0.5, 0, 255).astype(np.uint8)
