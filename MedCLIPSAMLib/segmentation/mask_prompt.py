"""A mask as a prompt of SAM 2: its logits, and the box around it."""

from __future__ import annotations

import numpy as np
from PIL import Image

CONFIDENCE = 8.0
"""Logit of a pixel inside the mask; the logit outside is its negative."""


def mask_logits(mask: np.ndarray, side: int) -> np.ndarray:
    """Convert a mask, (H, W) bool, to logits for `TextSegmenter.predict_mask`, (side, side) float32.

    The mask is stretched to a square, as SAM 2 does with images. The share of a cell that the mask covers, 0 to 1, maps
    to -CONFIDENCE to CONFIDENCE.
    """
    gray = Image.fromarray(mask.astype(np.float32))
    share = np.asarray(gray.resize((side, side), Image.Resampling.BOX), np.float32)
    return (2 * share - 1) * np.float32(CONFIDENCE)


def mask_box(mask: np.ndarray, points: np.ndarray | None = None, margin: float = 1.0) -> np.ndarray:
    """Return the box around a mask and points of its object, (4,) float32 x0 y0 x1 y1 in pixels, within the image.

    Args:
        mask: (H, W) bool, not empty.
        points: (P, 2), x y in pixels.
        margin: width in pixels by which each side is moved outwards.
    """
    rows, columns = np.nonzero(mask)
    low = np.array([columns.min(), rows.min()], np.float32)
    high = np.array([columns.max() + 1, rows.max() + 1], np.float32)
    if points is not None and len(points):
        low, high = np.minimum(low, points.min(0)), np.maximum(high, points.max(0))
    size = np.array(mask.shape[::-1], np.float32)
    return np.concatenate([np.clip(low - margin, 0, size), np.clip(high + margin, 0, size)]).astype(np.float32)
