"""The masks that SAM 2 gives for prompts on pictures, without their specks and pinholes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..models.sam_pictures import SamPictures
from .result import PromptedResult
from .saliency import normalise, upsample
from .sam_prompts import SamPrompts, points_followed
from .settings import Settings
from .tidy import tidy
from .vote import count_votes, uncertainty_of, ways_of_asking


class Outline(NamedTuple):
    """An answer of SAM 2.

    Args:
        mask: the union of the masks of some objects, (H, W) bool.
        quality: the predicted IoU of each, (B,) float32, 0 to 1.
        uncertainty: see `result.PromptedResult`.
    """

    mask: np.ndarray
    quality: np.ndarray
    uncertainty: np.ndarray | None = None


def outlines(
    pictures: SamPictures, numbers: Sequence[int], asked: Sequence[SamPrompts], least: float, enlarged: bool = False
) -> list[Outline]:
    """An outline for each of some prompts, whose objects are asked for together where they are of one kind.

    Args:
        numbers: the picture of each of `asked`.
        least: see `tidy.tidy`.
        enlarged: masks are tidied at the size of the picture, not at the smaller one at which SAM 2 gives them.
    """
    alike: dict[tuple, list[tuple[int, int]]] = {}
    for at, prompts in enumerate(asked):
        kind = len(prompts.boxes) > 0, prompts.points.shape[1]
        alike.setdefault(kind, []).extend((at, row) for row in range(len(prompts)))
    found: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
    for rows in alike.values():
        columns = zip(*(asked[at].row(row) for at, row in rows))
        boxes, points, labels = (None if column[0] is None else np.stack(column) for column in columns)
        mend = partial(_mend, pictures, least, points, labels)
        where = [numbers[at] for at, _ in rows]
        masks, quality = pictures.masks(where, boxes, points, labels, mend=None if enlarged else mend)
        for index, of in enumerate(rows):
            found[of] = mend(index, masks[index]) if enlarged else masks[index], float(quality[index])
    return [_union([found[at, row] for row in range(len(prompts))]) for at, prompts in enumerate(asked)]


def voted_outline(images: SamPictures, number: int, draft: PromptedResult, settings: Settings) -> Outline:
    """The outline for the prompts of a draft by the vote of several masks; see `vote.VoteSettings`."""
    prompts, vote = draft.sam_prompts, settings.vote
    numbers = [number] * len(prompts)
    inside = _points_in_boxes(draft.coarse, prompts.boxes, vote.points, settings.prompts.seed)
    ways = ways_of_asking(prompts, inside, vote, images.shape)
    found = [images.candidates(numbers, boxes, points, labels, vote.several) for boxes, points, labels in ways]
    masks, quality = (np.concatenate(parts, 1) for parts in zip(*found))
    values = torch.from_numpy(draft.where.map.values)[None, None]
    saliency = normalise(upsample(values, masks.shape[-2:]))[0, 0].numpy()
    votes = np.stack([count_votes(of_object, vote.method, saliency) for of_object in masks])
    tidied = np.stack([tidy(one > 0.5, settings.least_part) for one in votes])
    signed = np.where(tidied, 1, -1) * np.maximum(np.abs(votes - 0.5), 1e-6)
    mask = np.any(images.enlarge(signed.astype(np.float32)) > 0, axis=0)
    uncertainty = uncertainty_of(images.enlarge(votes).max(0))
    return Outline(np.asarray(mask), np.clip(quality.mean(1), 0, 1).astype(np.float32), uncertainty)


def _points_in_boxes(coarse: np.ndarray, boxes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw random pixel centers of a coarse mask, (H, W) bool, within boxes (B, 4): (B, count, 2) x y in pixels."""
    found = []
    for x0, y0, x1, y1 in boxes:
        rows, columns = slice(int(y0), math.ceil(y1)), slice(int(x0), math.ceil(x1))
        places = np.argwhere(coarse[rows, columns])
        chosen = np.random.default_rng(seed).choice(len(places), count, replace=len(places) < count)
        found.append(places[chosen][:, ::-1] + (columns.start + 0.5, rows.start + 0.5))
    return np.array(found, np.float32).reshape(len(boxes), count, 2)


def _mend(
    pictures: SamPictures,
    least: float,
    points: np.ndarray | None,
    labels: np.ndarray | None,
    index: int,
    mask: np.ndarray,
) -> np.ndarray:
    """The mask of an object, (h, w) bool of any size, tidied; points (B, P, 2) are in pixels of the picture."""
    if points is None or labels is None:
        return tidy(mask, least)
    (height, width), (rows, columns) = pictures.shape, mask.shape
    return tidy(mask, least, points[index] * (columns / width, rows / height), labels[index])


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
    mend = partial(_mend, pictures, least, points, labels)
    if points is None or labels is None:
        masks, quality = pictures.masks([number], box, None, None, start, mend)
        return masks[0], float(quality[0])
    tried: list[tuple[int, np.ndarray, float]] = []
    for around, mask_input in ((box, start), (box, None), (None, None)):
        masks, quality = pictures.masks([number], around, points, labels, mask_input, mend)
        mask = masks[0]
        followed = int(points_followed(mask, points[0], labels[0]).sum())
        tried.append((followed, mask, float(quality[0])))
        if followed == points.shape[1]:
            break
    _, mask, iou = max(tried, key=lambda each: each[0])  # the first of several that follow as many
    return mask, iou


def _union(found: list[tuple[np.ndarray, float]]) -> Outline:
    masks, quality = zip(*found)
    return Outline(np.any(masks, axis=0), np.clip(np.array(quality, np.float32), 0, 1))
