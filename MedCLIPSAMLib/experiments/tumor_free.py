"""Parts of breast ultrasound images outside the tumor, the same at every call."""

from __future__ import annotations

import hashlib

import numpy as np

MIN_SHARE = 0.35
"""Minimum width and height of a part as a fraction of the image's."""
GAP = 3
"""Distance between the part and the tumor's box, in pixels."""


def tumor_free_part(name: str, image: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
    """Crop a part of an image outside the box around the truth; it spans the whole width or height.

    If there are several, one is drawn at random, seeded by the image's name.

    Args:
        name: name of the image.
        image: (H, W, 3) uint8.
        truth: (H, W) bool, not empty.

    Returns:
        (h, w, 3) uint8; None if no part is large enough.
    """
    (rows, columns), (height, width) = np.nonzero(truth), truth.shape
    x0, x1, y0, y1 = columns.min() - GAP, columns.max() + GAP, rows.min() - GAP, rows.max() + GAP
    beside = ((0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height))
    large = [
        (left, top, right, bottom)
        for left, top, right, bottom in beside
        if right - left > MIN_SHARE * width and bottom - top > MIN_SHARE * height
    ]
    if not large:
        return None
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    left, top, right, bottom = large[np.random.default_rng(int(1e9 * share)).integers(len(large))]
    return image[top:bottom, left:right].copy()
