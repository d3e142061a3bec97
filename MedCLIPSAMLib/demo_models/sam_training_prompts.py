"""Prompts to train the demo SAM 2 on.

They are boxes from tight to very loose, clicks, correction clicks, and boxes around nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..phantoms.phantom import SIZE, Phantom


@dataclass(frozen=True)
class SamPrompt:
    """One prompt on a training image, with its truth mask, (SIZE, SIZE) bool.

    Args:
        coords: (P, 2) x y of the two corners of a box or of points, in pixels of SIZE.
        labels: (P,) kinds of the coordinates as in SAM: 2 and 3 for the corners, else 1 foreground, 0 background.
    """

    truth: np.ndarray
    coords: np.ndarray
    labels: np.ndarray


def draw_sam_prompt(rng: np.random.Generator, phantom: Phantom) -> SamPrompt:
    """Draw a random prompt for a random structure of `phantom`, preferably a lesion.

    One in six is a box around nothing. One in twelve is a box around the whole image: as no structure fills it, the
    right answer is an empty mask.
    """
    if rng.random() < 1 / 12:
        corner, opposite = rng.uniform(0, 6, 2), rng.uniform(SIZE - 6, SIZE, 2)
        return SamPrompt(np.zeros((SIZE, SIZE), bool), np.stack([corner, opposite]), np.array([2, 3]))
    structures = _structures(phantom)
    lesions = [lesion.mask for lesion in phantom.lesions]
    if not structures or rng.random() < 1 / 6:
        while True:
            width, height = rng.uniform(8, 36, 2)
            x0, y0 = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
            inside = np.zeros((SIZE, SIZE), bool)
            inside[int(y0) : int(y0 + height), int(x0) : int(x0 + width)] = True
            covered = [
                mask
                for mask in structures
                if (mask & inside).sum() > 0.35 * mask.sum() or (mask & inside).sum() > 0.3 * inside.sum()
            ]
            if not covered:
                box = np.array([[x0, y0], [x0 + width, y0 + height]])
                return SamPrompt(np.zeros((SIZE, SIZE), bool), box, np.array([2, 3]))
    pool = lesions if lesions and rng.random() < 0.6 else structures
    truth = pool[rng.integers(len(pool))]
    if rng.random() < 0.7:
        x0, y0, x1, y1 = jitter(rng, truth)
        return SamPrompt(truth, np.array([[x0, y0], [x1, y1]]), np.array([2, 3]))
    rows, columns = np.nonzero(truth)
    chosen = rng.integers(len(rows), size=rng.integers(1, 5))
    points = np.stack([columns[chosen], rows[chosen]], 1) + 0.5
    labels = np.ones(len(points), int)
    outside = np.argwhere(~truth & (ndimage.distance_transform_edt(~truth) < 14))
    if len(outside) and rng.random() < 0.4:
        extra = outside[rng.integers(len(outside), size=2)]
        points, labels = np.concatenate([points, extra[:, ::-1] + 0.5]), np.concatenate([labels, [0, 0]])
    return SamPrompt(truth, points, labels)


def replace_by_click(rng: np.random.Generator, prompt: SamPrompt) -> SamPrompt:
    """Replace a prompt by a single click inside the structure; a box around nothing stays a box."""
    rows, columns = np.nonzero(prompt.truth)
    if not len(rows):
        return prompt
    index = rng.integers(len(rows))
    return SamPrompt(prompt.truth, np.array([[columns[index] + 0.5, rows[index] + 0.5]]), np.array([1]))


def correction(rng: np.random.Generator, logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Click near the middle of the thickest wrong region; return None if there is none or all are thin.

    Args:
        logits: mask logits (h, w).
        truth: (SIZE, SIZE) bool.

    Returns:
        The click, (1, 2) x y in pixels of SIZE; and its label, 1 if foreground is missing, else 0.
    """
    predicted = ndimage.zoom(logits, SIZE / logits.shape[0], order=1) > 0
    wrong = predicted != truth
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
    if depth.max() < 1.5:
        return None
    rows, columns = np.nonzero(depth > 0.7 * depth.max())
    index = rng.integers(len(rows))
    return np.array([[columns[index] + 0.5, rows[index] + 0.5]]), int(truth[rows[index], columns[index]])


def _structures(phantom: Phantom) -> list[np.ndarray]:
    masks = [lesion.mask for lesion in phantom.lesions] + list(phantom.organs.values())
    if phantom.modality in ("XR", "CT") and len(phantom.organs):
        masks.append(phantom.lungs_mask)
    return [mask for mask in masks if mask.sum() >= 12]


def jitter(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return the box of `mask`, its corners moved as a coarse mask would move them: from tight to very loose."""
    rows, columns = np.nonzero(mask)
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    width, height = x1 - x0, y1 - y0
    if rng.random() < 0.5:
        moved = (
            np.array([x0, y0, x1, y1])
            + rng.normal(0, 0.08, 4) * np.array([width, height, width, height])
            + rng.normal(0, 1.0, 4)
        )
    else:
        grow = rng.uniform(0.0, 0.7, 4) * np.array([width, height, width, height]) + rng.uniform(0, 8, 4)
        moved = np.array([x0, y0, x1, y1]) + grow * np.array([-1, -1, 1, 1])
    return np.clip(moved, 0, SIZE)
