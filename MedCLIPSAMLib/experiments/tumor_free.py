"""Parts of breast ultrasound images beside the tumor, made the same way at every call."""

from __future__ import annotations

import hashlib

import numpy as np

MIN_SHARE = 0.35
"""Minimum share of the image's width and height of a part."""
GAP = 3
"""Pixels between the part and the tumor's box."""


def tumor_free_part(name: str, image: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
    """Cut a part out of an image, over its whole width or height, outside the box around the truth.

    Among several it is drawn by the image's name.

    Args:
        image: (H, W, 3) uint8.
        truth: (H, W) bool, not empty.

    Returns:
        (h, w, 3) uint8; None where no part is large enough.
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
