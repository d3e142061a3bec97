"""Predict masks by SAM 2 for prompts on images, and remove their specks and pinholes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..choices import CoarseMethod, VoteMethod
from ..models.sam_image_batch import SamImageBatch
from .result import PromptedResult
from .saliency_map import SaliencyMap
from .sam_prompts import SamPrompts, follows_points
from .settings import Settings
from .tidy import tidy
from .vote import compute_vote_entropy, count_votes, list_ways_of_asking


class MaskPrediction(NamedTuple):
    """A mask predicted by SAM 2.

    Args:
        mask: union of the masks of B objects, (H, W) bool.
        quality: predicted IoU of each object, (B,) float32, 0 to 1.
        uncertainty: see `result.PromptedResult`.
    """

    mask: np.ndarray
    quality: np.ndarray
    uncertainty: np.ndarray | None = None


def predict_masks(
    images: SamImageBatch,
    numbers: Sequence[int],
    sam_prompts: Sequence[SamPrompts],
    min_part: float,
    enlarged: bool = False,
) -> list[MaskPrediction]:
    """Predict the masks of each prompt. SAM 2 processes objects with the same kinds of prompts together.

    Args:
        numbers: the image number of each of `sam_prompts`.
        min_part: see `tidy.tidy`.
        enlarged: tidy masks at the size of the image rather than at SAM 2's smaller output size.
    """
    alike: dict[tuple, list[tuple[int, int]]] = {}
    for at, sam_prompt in enumerate(sam_prompts):
        kind = len(sam_prompt.boxes) > 0, sam_prompt.points.shape[1]
        alike.setdefault(kind, []).extend((at, row) for row in range(len(sam_prompt)))
    found: dict[tuple[int, int], tuple[np.ndarray, float]] = {}
    for rows in alike.values():
        columns = zip(*(sam_prompts[at].row(row) for at, row in rows))
        boxes, points, labels = (None if column[0] is None else np.stack(column) for column in columns)
        tidy_object = partial(_tidy_object, images, min_part, points, labels)
        where = [numbers[at] for at, _ in rows]
        masks, quality = images.masks(where, boxes, points, labels, change_mask=None if enlarged else tidy_object)
        for index, of in enumerate(rows):
            found[of] = tidy_object(index, masks[index]) if enlarged else masks[index], float(quality[index])
    return [_union([found[at, row] for row in range(len(sam_prompt))]) for at, sam_prompt in enumerate(sam_prompts)]


def predict_draft_masks(
    images: SamImageBatch, numbers: Sequence[int], drafts: Sequence[PromptedResult], settings: Settings
) -> list[MaskPrediction]:
    """Predict the mask of each draft on the image of its number, as one mask or by the vote of several."""
    if settings.vote.method != VoteMethod.NONE:
        return [predict_voted_mask(images, number, draft, settings) for number, draft in zip(numbers, drafts)]
    prompts = [draft.sam_prompts for draft in drafts]
    return predict_masks(images, numbers, prompts, settings.min_part, _tidies_enlarged(settings))


def predict_prompted_mask(
    images: SamImageBatch, sam_prompts: SamPrompts, logits: np.ndarray | None, settings: Settings
) -> MaskPrediction:
    """Predict the mask for prompts on the first image; see `TextSegmenter.predict_mask`."""
    if logits is None:
        return predict_masks(images, [0], [sam_prompts], settings.min_part, _tidies_enlarged(settings))[0]
    predict = lambda row: _predict_respecting_clicks(images, sam_prompts, row, logits, settings.min_part)
    return _union([predict(row) for row in range(len(sam_prompts))])


def _tidies_enlarged(settings: Settings) -> bool:
    """Tell whether masks are tidied at the size of the image, as they were for the paper's figures."""
    return settings.coarse.method == CoarseMethod.KMEANS


def predict_voted_mask(images: SamImageBatch, number: int, draft: PromptedResult, settings: Settings) -> MaskPrediction:
    """Predict the mask for a draft's prompts by the vote of several masks; see `vote.VoteSettings`."""
    prompts, vote = draft.sam_prompts, settings.vote
    numbers = [number] * len(prompts)
    inside = _points_in_boxes(draft.coarse, prompts.boxes, vote.points, settings.prompts.seed)
    ways = list_ways_of_asking(prompts, inside, vote, images.shape)
    found = [images.candidates(numbers, boxes, points, labels, vote.several) for boxes, points, labels in ways]
    masks, quality = (np.concatenate(parts, 1) for parts in zip(*found))
    saliency = SaliencyMap(draft.where.map.values, masks.shape[-2:]).pixels
    votes = np.stack([count_votes(of_object, vote.method, saliency) for of_object in masks])
    tidied = np.stack([tidy(probability > 0.5, settings.min_part) for probability in votes])
    signed = np.where(tidied, 1, -1) * np.maximum(np.abs(votes - 0.5), 1e-6)
    mask = np.any(images.enlarge(signed.astype(np.float32)) > 0, axis=0)
    quality = np.clip(quality.mean(1), 0, 1).astype(np.float32)
    if masks.shape[1] == 1:
        return MaskPrediction(np.asarray(mask), quality)  # a single mask is not a vote, so it has no uncertainty
    # The entropy is computed before enlarging: an enlarged share lies between 0 and 1 along every outline, even if all
    # masks agree. It is of the share of the masks, as STAPLE's probability is overconfident.
    share = masks.mean(1, dtype=np.float32).max(0, keepdims=True)
    uncertainty = np.clip(images.enlarge(compute_vote_entropy(share))[0], 0, 1)
    return MaskPrediction(np.asarray(mask), quality, uncertainty)


def _points_in_boxes(coarse: np.ndarray, boxes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw random pixel centers of a coarse mask, (H, W) bool, within boxes (B, 4): (B, count, 2) x y in pixels."""
    found = []
    for x0, y0, x1, y1 in boxes:
        rows, columns = slice(int(y0), math.ceil(y1)), slice(int(x0), math.ceil(x1))
        places = np.argwhere(coarse[rows, columns])
        chosen = np.random.default_rng(seed).choice(len(places), count, replace=len(places) < count)
        found.append(places[chosen][:, ::-1] + (columns.start + 0.5, rows.start + 0.5))
    return np.array(found, np.float32).reshape(len(boxes), count, 2)


def _tidy_object(
    images: SamImageBatch,
    min_part: float,
    points: np.ndarray | None,
    labels: np.ndarray | None,
    index: int,
    mask: np.ndarray,
) -> np.ndarray:
    """Tidy the mask of an object, (h, w) bool of any size; points (B, P, 2) are in pixels of the image."""
    if points is None or labels is None:
        return tidy(mask, min_part)
    (height, width), (rows, columns) = images.shape, mask.shape
    return tidy(mask, min_part, points[index] * (columns / width, rows / height), labels[index])


def _predict_respecting_clicks(
    images: SamImageBatch, sam_prompts: SamPrompts, row: int, logits: np.ndarray, min_part: float
) -> tuple[np.ndarray, float]:
    """Predict the mask and the IoU of one object on the first image, such that the mask follows the points.

    SAM 2 is prompted with the logits, then without them, then without the box, until a mask follows all points.
    Otherwise the mask that follows most of them is taken.
    """
    box, points, labels = (None if array is None else array[None] for array in sam_prompts.row(row))
    start = logits[row : row + 1]
    tidy_object = partial(_tidy_object, images, min_part, points, labels)
    if points is None or labels is None:
        masks, quality = images.masks([0], box, None, None, start, tidy_object)
        return masks[0], float(quality[0])
    tried: list[tuple[int, np.ndarray, float]] = []
    for around, mask_input in ((box, start), (box, None), (None, None)):
        masks, quality = images.masks([0], around, points, labels, mask_input, tidy_object)
        mask = masks[0]
        followed = int(follows_points(mask, points[0], labels[0]).sum())
        tried.append((followed, mask, float(quality[0])))
        if followed == points.shape[1]:
            break
    _, mask, iou = max(tried, key=lambda item: item[0])  # the first among equals
    return mask, iou


def _union(found: list[tuple[np.ndarray, float]]) -> MaskPrediction:
    masks, quality = zip(*found)
    return MaskPrediction(np.any(masks, axis=0), np.clip(np.array(quality, np.float32), 0, 1))
