"""A saliency map as the model gives it, with one value per patch, and its values at any pixels of the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch

from .saliency import normalize, upsample


@dataclass(frozen=True, eq=False)
class SaliencyMap:
    """A map of an image, upsampled bilinearly and scaled to 0 to 1 within the image; zeros if it is constant.

    Args:
        values: (h, w) float32 by patch, or (H, W) by pixel.
        shape: (H, W) of the image.
    """

    values: np.ndarray
    shape: tuple[int, int]

    @cached_property
    def pixels(self) -> np.ndarray:
        """The whole map, (H, W) float32."""
        values = torch.from_numpy(self.values)[None, None]
        return normalize(values if self._by_pixel else upsample(values, self.shape))[0, 0].numpy()

    def at(self, rows: slice, columns: slice) -> np.ndarray:
        """Compute the map on some rows and columns of pixels, (R, C) float32, equal to `pixels` except for rounding."""
        if self._by_pixel:
            return self._scaled[rows, columns]
        down, across = (_weights(*sides) for sides in zip(self.values.shape, self.shape))
        return (down[rows] @ self._scaled) @ across[columns].T

    def sample(self, side: int) -> np.ndarray:
        """Sample the map on a grid of `side` by `side` over the image, or on all pixels along a side that has fewer.

        The sample nearest to row r and column c of an image (H, W) is r * h // H, c * w // W of (h, w).
        """
        rows, columns = (min(pixels, side) for pixels in self.shape)
        if self._by_pixel:
            places = [(2 * np.arange(n) + 1) * pixels // (2 * n) for n, pixels in zip((rows, columns), self.shape)]
            return self._scaled[np.ix_(*places)]
        height, width = self.values.shape
        between = _weights(height, rows) @ self._scaled @ _weights(width, columns).T
        return between.clip(0, 1)  # a sample may lie nearer to the center of a patch than any pixel

    @cached_property
    def _scaled(self) -> np.ndarray:
        """The values, scaled so that the minimum and maximum over all pixels are 0 and 1."""
        extremes = self.values
        if not self._by_pixel:
            down, across = (_weights_near_centers(*sides) for sides in zip(self.values.shape, self.shape))
            extremes = down @ self.values @ across.T
        low, high = extremes.min(), extremes.max()
        return (self.values - low) / (high - low) if high > low else np.zeros_like(self.values)

    @property
    def is_constant(self) -> bool:
        """Whether the map is constant, so that nothing stands out."""
        return not self._scaled.any()

    @property
    def _by_pixel(self) -> bool:
        return self.values.shape == self.shape


@lru_cache(maxsize=64)
def _weights(patches: int, pixels: int) -> np.ndarray:
    """Compute the weights of patches in pixels along a side, (pixels, patches) float32, as `saliency.upsample` does."""
    center = np.clip((np.arange(pixels) + 0.5) * patches / pixels - 0.5, 0, patches - 1)
    weights = 1 - np.abs(center[:, None] - np.arange(patches))
    return np.clip(weights, 0, None).astype(np.float32)


@lru_cache(maxsize=64)
def _weights_near_centers(patches: int, pixels: int) -> np.ndarray:
    """Return the weights of the pixels on either side of each patch center, where the extremes of a map lie."""
    center = (np.arange(patches) + 0.5) * pixels / patches - 0.5
    both = np.concatenate([np.floor(center), np.ceil(center)]).astype(int)
    return _weights(patches, pixels)[np.unique(np.clip(both, 0, pixels - 1))]
