"""How well the DSC of masks is predicted without truth masks, and the predictor that is fitted for it.

The predictor is fitted on the split "validation" and measured once on "test". Leaving one set out tells how well it
works for images of a kind that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ..errors import InputError
from ..evaluation.metrics import dsc
from ..models.expected_dsc import DscPredictor, Signs, fit_predictor
from ..run_context import RunContext
from ..segmentation.expected import signs_of
from ..segmentation.segmenter import TextSegmenter
from .options import ImageSet
from .real import mean_interval

SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Shares of the masks that are kept, the surest first."""
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bounds of the bins of the expected DSC."""
MIN_FITTED = 20
"""Minimum number of masks for a fit."""


@dataclass(frozen=True)
class MeasuredMask:
    """A mask that was found, its scores by the models, and its DSC.

    Args:
        set: of the image.
        score: of the result, presence times predicted quality.
    """

    set: str
    case: str
    signs: Signs
    score: float
    dsc: float


def measure_masks(
    segmenter: TextSegmenter, sets: Mapping[str, ImageSet], context: RunContext = RunContext()
) -> list[MeasuredMask]:
    """Segment images with truth; those in which nothing was found are left out."""
    measured = []
    total, done = sum(len(one.images) for one in sets.values()), 0
    for name, images in sets.items():
        for case in images.images:
            context.raise_if_cancelled()
            segmenter.set_image(case.image)
            result = segmenter.segment(images.prompt)
            if result.found and result.predicted_iou.size:
                measured.append(
                    MeasuredMask(name, case.name, signs_of(result), result.score, dsc(result.mask, case.truth))
                )
            done += 1
            context.report(done, total, name)
    return measured


def map_count(segmenter: TextSegmenter, prompts: Sequence[str]) -> int:
    """Return the number of saliency maps that the mask of a prompt is chosen from.

    Raises:
        InputError: the settings have different numbers for them.
    """
    counts = {len(segmenter.settings.saliency_for(prompt).candidates) for prompt in prompts}
    if len(counts) != 1:
        raise InputError(f"Expected one number of saliency maps for all prompts, got {sorted(counts)}.")
    return counts.pop()


def fit(masks: Sequence[MeasuredMask], sam: str, maps: int) -> DscPredictor:
    """Fit a predictor to measured masks.

    Raises:
        InputError: too few masks.
    """
    if len(masks) < MIN_FITTED:
        raise InputError(f"Expected at least {MIN_FITTED} masks to fit to, got {len(masks)}.", "Raise --cases.")
    return fit_predictor([mask.signs for mask in masks], [mask.dsc for mask in masks], sam, maps)


def judge(masks: Sequence[MeasuredMask], predictor: DscPredictor) -> dict[str, Any]:
    """Compare predicted and measured DSC.

    Returns:
        As JSON values: {"cases", "sets": {set: {"cases", "dsc", "expected", "error", "correlation", "order"}}, "error",
        "error_interval", "error_of_mean", "correlation", "order", "order_of_score", "kept": {share: {"expected_dsc",
        "score", "random", "truth"}}, "calibration": [{"from", "to", "cases", "expected", "dsc"}]}. "error" is the mean
        absolute difference, "error_of_mean" that of the mean DSC as the prediction for all, "correlation" Spearman's,
        "order" see `order_gain`, "kept" the mean DSC of the share that is kept by each order.

    Raises:
        InputError: no mask.
    """
    if not masks:
        raise InputError("Expected masks to judge, got none: nothing was found in any image.")
    truth = np.array([mask.dsc for mask in masks])
    expected = np.array([predictor.predict(mask.signs) for mask in masks])
    score = np.array([mask.score for mask in masks])
    names = np.array([mask.set for mask in masks])
    errors = np.abs(expected - truth)
    sets = {}
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        sets[name] = {
            "cases": int(own.sum()),
            "dsc": float(truth[own].mean()),
            "expected": float(expected[own].mean()),
            "error": float(errors[own].mean()),
            "correlation": _correlation(expected[own], truth[own]),
            "order": order_gain(expected[own], truth[own]),
        }
    orders = {"expected_dsc": expected, "score": score, "truth": truth}
    kept = {
        f"{share:.0%}": {name: _mean_of_kept(order, truth, share) for name, order in orders.items()}
        | {"random": float(truth.mean())}
        for share in SHARES
    }
    bins = []
    for low, high in pairwise(BINS):
        within = (expected >= low) & (expected < high)
        if within.any():
            means = {"expected": float(expected[within].mean()), "dsc": float(truth[within].mean())}
            bins.append({"from": low, "to": high, "cases": int(within.sum()), **means})
    return {
        "cases": len(masks),
        "sets": sets,
        "error": float(errors.mean()),
        "error_interval": mean_interval(errors),
        "error_of_mean": float(np.abs(truth - truth.mean()).mean()),
        "correlation": _correlation(expected, truth),
        "order": order_gain(expected, truth),
        "order_of_score": order_gain(score, truth),
        "kept": kept,
        "calibration": bins,
    }


def leave_one_set_out(masks: Sequence[MeasuredMask], sam: str, maps: int) -> dict[str, dict[str, float]]:
    """Judge each set by a predictor that was fitted to the other sets alone; {} where there is one set.

    Returns:
        {set: the figures of `judge`'s "sets"}.
    """
    found = {}
    for name in dict.fromkeys(mask.set for mask in masks):
        own = [mask for mask in masks if mask.set == name]
        others = [mask for mask in masks if mask.set != name]
        if len(others) >= MIN_FITTED:
            found[name] = judge(own, fit(others, sam, maps))["sets"][name]
    return found


def order_gain(order: np.ndarray, truth: np.ndarray) -> float:
    """Return how good an order of masks is, from random (0) to that by their DSC (1).

    It averages the mean DSC of the first n masks over all n.
    """
    running = lambda values: float((np.cumsum(values) / np.arange(1, len(values) + 1)).mean())
    best = running(np.sort(truth)[::-1])
    if best - truth.mean() < 1e-9:
        return 0.0
    return (running(truth[np.argsort(-order, kind="stable")]) - float(truth.mean())) / (best - float(truth.mean()))


def _mean_of_kept(order: np.ndarray, truth: np.ndarray, share: float) -> float:
    return float(truth[np.argsort(-order, kind="stable")][: max(1, round(share * len(truth)))].mean())


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
