"""A mask of SAM 2 without its specks and pinholes, as SAM's own mask generator cleans its masks (Kirillov et al. 2023).

What a user pointed at stays: a part with a point inside, and a hole with a point outside.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import label


def tidy(
    mask: np.ndarray, least_part: float, points: np.ndarray | None = None, labels: np.ndarray | None = None
) -> np.ndarray:
    """Parts of a mask, (H, W) bool, that are smaller than a share of its area are removed, then such holes filled.

    Args:
        least_part: share of the mask's area; 0 changes nothing. The largest part always stays.
        points, labels: (P, 2) x y in pixels and (P,) 1 inside, 0 outside; what has one in it stays.
    """
    least = least_part * mask.sum()
    if not least:
        return mask
    parts = label(mask, connectivity=2)
    areas = np.bincount(parts.ravel())
    keep = areas >= min(least, areas[1:].max())
    keep[_at(parts, points, labels, 1)] = True
    keep[0] = False
    mask = keep[parts]
    holes = label(~mask, connectivity=1)
    fill = np.bincount(holes.ravel()) < least
    fill[_at(holes, points, labels, 0)] = False
    border = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    fill[border] = False
    fill[0] = False
    return mask | fill[holes]


def _at(regions: np.ndarray, points: np.ndarray | None, labels: np.ndarray | None, kind: int) -> np.ndarray:
    """The numbers of the regions that have a point of a kind in them."""
    if points is None:
        return np.zeros(0, int)
    columns, rows = np.floor(points[labels == kind]).astype(int).T
    height, width = regions.shape
    return regions[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
