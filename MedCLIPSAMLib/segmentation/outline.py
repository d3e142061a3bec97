"""The masks that SAM 2 gives for prompts on pictures, without their specks and pinholes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..models.sam_pictures import SamPictures
from .sam_prompts import SamPrompts, points_followed
from .tidy import tidy

Outline = tuple[np.ndarray, np.ndarray]
"""The union of the masks of some objects, (H, W) bool, and the predicted IoU of each, (B,) float32, 0 to 1."""


def outlines(pictures: SamPictures, numbers: Sequence[int], asked: Sequence[SamPrompts], least: float) -> list[Outline]:
    """An outline for each of some prompts, whose objects are asked for together where they are of one kind.

    Args:
        numbers: the picture of each of `asked`.
        least: see `tidy.tidy`.
    """
    alike: dict[tuple, list[tuple[int, int]]] = {}
    for at, prompts in enumerate(asked):
        kind = len(prompts.boxes) > 0, prompts.points.shape[1]
        alike.setdefault(kind, []).extend((at, row) for row in range(len(prompts)))
    found: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
    for rows in alike.values():
        columns = zip(*(asked[at].row(row) for at, row in rows))
        boxes, points, labels = (None if column[0] is None else np.stack(column) for column in columns)
        masks, quality = pictures.masks([numbers[at] for at, _ in rows], boxes, points, labels)
        for (at, row), mask, value in zip(rows, masks, quality):
            _, inside, kinds = asked[at].row(row)
            found[at, row] = tidy(mask, least, inside, kinds), float(value)
    return [_union([found[at, row] for row in range(len(prompts))]) for at, prompts in enumerate(asked)]


def obedient_outline(
    pictures: SamPictures, number: int, prompts: SamPrompts, logits: np.ndarray, least: float
) -> Outline:
    """The outline of prompts on one picture that starts from masks; see `TextSegmenter.outline`."""
    return _union([_obedient(pictures, number, prompts, row, logits, least) for row in range(len(prompts))])


def _obedient(
    pictures: SamPictures, number: int, prompts: SamPrompts, row: int, logits: np.ndarray, least: float
) -> tuple[np.ndarray, float]:
    """The mask and predicted IoU of one object, from the first way of asking whose answer follows all points, else the
    one that follows most: with the mask to start from, without it, and without the box."""
    box, points, labels = (None if each is None else each[None] for each in prompts.row(row))
    start = logits[row : row + 1]
    if points is None or labels is None:
        masks, quality = pictures.masks([number], box, None, None, start)
        return tidy(masks[0], least), float(quality[0])
    tried: list[tuple[int, np.ndarray, float]] = []
    for around, mask_input in ((box, start), (box, None), (None, None)):
        masks, quality = pictures.masks([number], around, points, labels, mask_input)
        mask = tidy(masks[0], least, points[0], labels[0])
        followed = int(points_followed(mask, points[0], labels[0]).sum())
        tried.append((followed, mask, float(quality[0])))
        if followed == points.shape[1]:
            break
    _, mask, iou = max(tried, key=lambda each: each[0])  # the first of several that follow as many
    return mask, iou


def _union(found: list[tuple[np.ndarray, float]]) -> Outline:
    masks, quality = zip(*found)
    return np.any(masks, axis=0), np.clip(np.array(quality, np.float32), 0, 1)
