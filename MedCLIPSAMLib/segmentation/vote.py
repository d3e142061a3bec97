"""Combine several masks from SAM 2 into one by vote, and compute where they disagree.

SAM gives three masks per prompt, from a part to the whole (Kirillov et al. 2023); the authors of MedCLIP-SAMv2 offer
their mean and STAPLE (Warfield et al., IEEE TMI 2004). Here the masks of several prompts for one object vote.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..choices import VoteMethod
from ..validated import Choice, settings_class
from .sam_prompts import SamPrompts, widen_boxes


@settings_class
class VoteSettings:
    """Which masks vote, and how their votes are counted.

    Args:
        method: "none" (no vote, one mask by SAM 2's own choice), "mean" of the masks, "staple" (weights each mask by
            how well it fits the others), or "map" (weights each mask by its overlap with the saliency map).
        margin: the second prompt is a box widened by this share of its sides, half of it at either end; 0 omits it.
        points: the third prompt is the box and this number of random points of the coarse mask within it; 0 omits it.
        several: whether all three masks of each prompt vote, rather than SAM 2's own choice. This suits a SAM 2 that
            was trained to give alternatives; the shipped ones were not.
    """

    method: Choice[VoteMethod] = VoteMethod.NONE
    margin: Annotated[float, Field(ge=0)] = 0.2
    points: Annotated[int, Field(ge=0)] = 3
    several: bool = False


def count_votes(masks: np.ndarray, method: VoteMethod, saliency: np.ndarray) -> np.ndarray:
    """Combine V masks, (V, h, w) bool, into the probability of each pixel, (h, w) float32.

    Args:
        saliency: (h, w) float32, 0 to 1.
    """
    if method == VoteMethod.STAPLE and masks.any() and not (masks == masks[:1]).all():
        import SimpleITK as sitk  # imported here, as nothing else in this module needs it

        found = sitk.GetArrayFromImage(
            sitk.STAPLE([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks], 1.0)
        )
        if np.isfinite(found).all():
            return found.astype(np.float32)
    weights = np.ones(len(masks))
    if method == VoteMethod.MAP:
        shared = (masks * saliency).sum((1, 2))
        weights = shared / np.maximum(masks.sum((1, 2)) + saliency.sum() - shared, 1e-9)
        weights = weights if weights.any() else np.ones(len(masks))
    return np.average(masks, axis=0, weights=weights).astype(np.float32)


def compute_vote_entropy(probability: np.ndarray) -> np.ndarray:
    """Compute the entropy of a vote in bits, float32 of any shape: 0 where all agree, 1 where they split in half."""
    p = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.where((probability <= 0) | (probability >= 1), 0, -p * np.log2(p) - (1 - p) * np.log2(1 - p)).astype(
        np.float32
    )


def list_ways_of_asking(
    prompts: SamPrompts, inside: np.ndarray, settings: VoteSettings, shape: tuple[int, int]
) -> list:
    """List the alternative prompts for B objects, each as (boxes, points, labels) of arrays or None.

    Args:
        inside: (B, P, 2) points of the coarse mask within each box, x y in pixels.
        shape: (H, W) of the image, to which boxes are clipped.
    """
    boxes = prompts.boxes if len(prompts.boxes) else None
    given = (prompts.points, prompts.labels) if prompts.points.shape[1] else (None, None)
    ways = [(boxes, *given)]
    if boxes is not None and settings.margin:
        ways.append((widen_boxes(boxes, settings.margin, shape), *given))
    if boxes is not None and settings.points and given[0] is None:
        ways.append((boxes, inside.astype(np.float32), np.ones(inside.shape[:2], np.int32)))
    return ways
