"""Agreement of a mask with the truth: overlap (DSC) and surface distances (NSD, HD95).

NSD uses the surfaces of Nikolov et al. 2021 (J. Med. Internet Res. 23(7):e26151): contour segments in 2-D and surface
patches in 3-D, weighted by their length or area in mm. HD95 uses the centers of the outermost pixels of a mask, each
counted once, as MONAI defines it; it is not a percentile over Nikolov's surfaces.
Masks are (H, W) or (K, H, W) arrays on the same grid, non-zero inside.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

ROUNDING = 1e-6
"""Relative rounding error by which a float32 distance may exceed a tolerance, such as 3 pixels of 0.1 mm."""
_quiet = partial(warnings.catch_warnings, action="ignore", category=FutureWarning)
"""Silences MONAI 1.6's warning about one of its own calls."""


def dsc(pred: np.ndarray, truth: np.ndarray) -> float:
    """Compute the Dice coefficient, 2 |A and B| / (|A| + |B|), 0 to 1; 1.0 if both are empty, 0.0 if one is.

    Raises:
        ValueError: the shapes differ.
    """
    pred, truth = _masks(pred, truth)
    total = int(pred.sum()) + int(truth.sum())
    return 2 * int((pred & truth).sum()) / total if total else 1.0


def nsd(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Compute the normalized surface distance: the share of both surfaces within `tolerance` of the other, 0 to 1.

    Axes of length one are ignored, so an image stored as a volume of one slice is measured by its contour.

    Args:
        spacing: mm for each axis of the arrays, in order: (row, column) or (slice, row, column).
        tolerance: mm, or pixels with a spacing of ones.

    Returns:
        1.0 if both masks are empty, 0.0 if one is; NaN for a single row of pixels, which has no contour.

    Raises:
        ValueError: the shapes differ, or more than three axes are longer than one.
    """
    pred, truth, spacing = _without_single_axes(*_masks(pred, truth), spacing)
    if len(spacing) < 2 and pred.any() and truth.any():
        return float("nan")
    return _surface_dice(pred, truth, spacing, tolerance)


def nsd_as_published(pred: np.ndarray, truth: np.ndarray, tolerance: float = 2.0) -> float:
    """Compute the NSD column of the MedCLIP-SAMv2 paper, only for comparison with it; use `nsd` to measure.

    The authors' code treats a 2-D mask as a volume of one slice, 1 mm thick. Every pixel of the mask then has surface
    above and below it, so the score reflects overlap more than the contour: discs of radius 40 shifted by 6 pixels
    score 0.951, while the NSD of their contours is 0.278.

    Args:
        pred, truth: (H, W).
        tolerance: pixels.
    """
    pred, truth = _masks(pred, truth)
    return _surface_dice(pred[None], truth[None], (1.0, 1.0, 1.0), tolerance)


def hd95(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """Compute the 95th percentile of the Hausdorff distance in mm, the larger of the two directions.

    The distances, unweighted, are from the center of each outermost pixel of one mask to the nearest of the other.
    Axes of length one are ignored, as in `nsd`.

    Returns:
        Infinity if one mask is empty; NaN if both are, and for a single row of pixels, as there is no contour.

    Raises:
        ValueError: the shapes differ, or more than three axes are longer than one.
    """
    from monai.metrics import compute_hausdorff_distance

    pred, truth, spacing = _without_single_axes(*_masks(pred, truth), spacing)
    if not (pred.any() and truth.any()):
        return float("inf") if pred.any() or truth.any() else float("nan")
    if len(spacing) < 2:
        return float("nan")
    with _quiet():
        return compute_hausdorff_distance(
            *map(_batch, _cropped(pred, truth)), include_background=True, percentile=95, spacing=list(spacing)
        ).item()


def _surface_dice(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    from monai.metrics import compute_surface_dice

    if not (pred.any() and truth.any()):
        return 0.0 if pred.any() or truth.any() else 1.0
    thresholds = [tolerance * (1 + ROUNDING)]
    with _quiet():
        return compute_surface_dice(
            *map(_batch, _cropped(pred, truth)),
            thresholds,
            include_background=True,
            spacing=list(spacing),
            use_subvoxels=True,
        ).item()


def _cropped(pred: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Crop two masks to the box around both."""
    either = pred | truth
    lines = [np.flatnonzero(either.any(tuple({*range(either.ndim)} - {axis}))) for axis in range(either.ndim)]
    box = tuple(slice(line[0], line[-1] + 1) for line in lines)
    return pred[box], truth[box]


def _masks(pred: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if pred.shape != truth.shape:
        raise ValueError(f"the masks have different shapes: {pred.shape} and {truth.shape}")
    return pred.astype(bool), truth.astype(bool)


def _without_single_axes(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    if len(spacing) != pred.ndim:
        raise ValueError(f"{len(spacing)} spacings given for masks of {pred.ndim} axes")
    axes_spacing = tuple(float(step) for step, size in zip(spacing, pred.shape) if size > 1)
    if len(axes_spacing) > 3:
        raise ValueError(f"masks of shape {pred.shape} have no contour or surface")
    return pred.squeeze(), truth.squeeze(), axes_spacing


def _batch(mask: np.ndarray) -> Any:
    """Return a (1, 1, ...) float tensor, as MONAI expects it."""
    import torch

    return torch.from_numpy(mask)[None, None].float()
