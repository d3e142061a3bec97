"""Boxes that do not depend on the text, to measure SAM 2 without it and with the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.measure import label

from ..segmentation.sam_prompts import SamPrompts, SamPromptSettings, make_sam_prompts

MIN_PART = 0.02
"""Parts of a truth below this share of it get no box."""
LOOSE = 0.2
"""Share of its side by which a loose box is wider at either end."""


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
    """Scale boxes from an image of `shape` (rows, columns) to one of the shape `onto`."""
    factor = np.array([onto[1] / shape[1], onto[0] / shape[0]] * 2, np.float32)
    return SamPrompts(boxes * factor)


def make_true_boxes(truth: np.ndarray, looseness: float = 0.0) -> SamPrompts:
    """Put a box around each part of a truth, (H, W) bool, that is not a speck.

    Args:
        looseness: share of its side by which a box is wider at either end, within the image.
    """
    parts = label(truth, connectivity=2)
    areas = ndimage.sum_labels(truth, parts, range(1, parts.max() + 1))
    large = np.flatnonzero(areas >= MIN_PART * truth.sum()) + 1
    ranks = np.zeros(parts.max() + 1, int)
    ranks[large] = np.arange(1, len(large) + 1)
    return make_sam_prompts(ranks[parts], SamPromptSettings(margin=2 * looseness))
