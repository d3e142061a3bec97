"""Boxes that do not depend on the text: controls that measure SAM 2 without the text, or with boxes from the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import label

from ..segmentation.sam_prompts import SamPrompts, SamPromptSettings, make_sam_prompts

MIN_PART = 0.02
"""Components of a truth mask smaller than this fraction of its area get no box."""
LOOSE = 0.2
"""Fraction of its side by which a loose box is extended at either end."""


def move_boxes(boxes: np.ndarray, shape: Sequence[int], rng: np.random.Generator) -> SamPrompts:
    """Move boxes to random places inside an image of `shape` (rows, columns)."""
    extent = np.array([shape[1], shape[0]], np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    corner = (rng.random(size.shape) * (extent - size)).astype(np.float32)
    return SamPrompts(np.concatenate([corner, corner + size], axis=1))


def make_full_box(shape: Sequence[int]) -> SamPrompts:
    """Make one box around the whole image."""
    return SamPrompts(np.array([[0, 0, shape[1], shape[0]]], np.float32))


def scale_boxes(boxes: np.ndarray, shape: Sequence[int], onto: Sequence[int]) -> SamPrompts:
    """Scale boxes from an image of `shape` to one of shape `onto`, both (rows, columns)."""
    factor = np.array([onto[1] / shape[1], onto[0] / shape[0]] * 2, np.float32)
    return SamPrompts(boxes * factor)


def make_true_boxes(truth: np.ndarray, looseness: float = 0.0) -> SamPrompts:
    """Make a box around each component of a truth mask, except for specks (see `MIN_PART`).

    Args:
        truth: (H, W) bool.
        looseness: fraction of its side by which a box is extended at either end; boxes are clipped to the image.
    """
    parts = label(truth, connectivity=2)
    areas = ndimage.sum_labels(truth, parts, range(1, parts.max() + 1))
    large = np.flatnonzero(areas >= MIN_PART * truth.sum()) + 1
    ranks = np.zeros(parts.max() + 1, int)
    ranks[large] = np.arange(1, len(large) + 1)
    return make_sam_prompts(ranks[parts], SamPromptSettings(margin=2 * looseness))
