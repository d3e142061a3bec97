"""Remove specks and pinholes from a mask of SAM 2, as SAM's own mask generator does (Kirillov et al. 2023).

What the user pointed at is kept: a part that contains a point labeled inside, and a hole that contains a point labeled
outside.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from .components import bounds


def tidy(
    mask: np.ndarray, min_part: float, points: np.ndarray | None = None, labels: np.ndarray | None = None
) -> np.ndarray:
    """Remove the parts of a mask, (H, W) bool, that are smaller than a share of its area, then fill such holes.

    Args:
        min_part: share of the mask's area; 0 changes nothing. The largest part is always kept.
        points, labels: (P, 2) x y in pixels, and (P,) 1 inside, 0 outside. A part that contains a point inside is kept,
            and so is a hole that contains a point outside.
    """
    min_area = min_part * mask.sum()
    if not min_area:
        return mask
    part = bounds(mask)
    inside, outside = (_pixels(mask.shape, part, points, labels, kind) for kind in (1, 0))
    tidied = np.zeros_like(mask)
    tidied[part] = _tidy(mask[part], min_area, inside, outside)
    return tidied


def keep_largest_parts(mask: np.ndarray, count: int) -> np.ndarray:
    """Keep the `count` largest parts of a mask, (H, W) bool, and all parts as large as the last of them.

    The authors' code keeps as many parts of SAM's mask as there are components. Holes are not filled.
    """
    parts = label(mask, connectivity=2)
    areas = np.bincount(parts.ravel())[1:]
    min_area = np.sort(areas)[-min(count, len(areas)) :][0] if count and len(areas) else np.inf
    return np.concatenate([[False], areas >= min_area])[parts]


def _tidy(mask: np.ndarray, min_area: float, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Tidy a mask that touches all four borders of its array; see `tidy`."""
    parts, count = label(mask, connectivity=2, return_num=True)
    if count > 1:
        areas = np.bincount(parts.ravel())
        keep = areas >= min(min_area, areas[1:].max())
        keep[parts[*inside]] = True
        keep[0] = False
        mask = keep[parts]
    holes, count = label(np.pad(~mask, 1, constant_values=True), connectivity=1, return_num=True)
    if count == 1:  # only the background, no hole
        return mask
    holes = holes[1:-1, 1:-1]
    fill = np.bincount(holes.ravel(), minlength=count + 1) < min_area
    fill[holes[*outside]] = False
    fill[:2] = False  # 0 is the mask; 1 is the background around it, which is labeled first
    return mask | fill[holes]


def _pixels(
    shape: tuple[int, int], part: tuple[slice, slice], points: np.ndarray | None, labels: np.ndarray | None, kind: int
) -> np.ndarray:
    """Find the points of a kind in a part of an image: (2, n) rows and columns, relative to that part."""
    if points is None:
        return np.zeros((2, 0), int)
    at = np.floor(points[labels == kind, ::-1]).astype(int).T
    low, high = (np.array([[getattr(axis, end)] for axis in part]) for end in ("start", "stop"))
    at = np.clip(at, 0, np.array(shape)[:, None] - 1)
    return (at - low)[:, ((at >= low) & (at < high)).all(0)]
