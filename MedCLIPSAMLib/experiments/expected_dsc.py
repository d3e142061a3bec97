"""Fitting and evaluation of a predictor of the DSC of masks that needs no truth masks.

The predictor is fitted on the split "validation", where it is judged by cross-validation and by leaving out whole
sets, and is measured on the split "test".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import bootstrap, spearmanr

from ..errors import InputError
from ..evaluation.metrics import dsc
from ..models.expected_dsc import DscPredictor, Indicators, fit_predictor
from ..run_context import RunContext
from ..segmentation.expected_dsc import collect_indicators, fitted_settings
from ..segmentation.segmenter import TextSegmenter
from .prompted import RESAMPLES, ImageSet, mean_interval

COVERAGE = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Fractions of the masks that are kept, the most certain first."""
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Edges of the bins of expected DSC for the calibration."""
MIN_FITTED = 15
"""Minimum number of masks to fit a predictor to."""
FOLDS = 5
SEED = 12


@dataclass(frozen=True)
class MeasuredMask:
    """A mask that was found, the models' scores for it, and its DSC.

    Args:
        set: name of the image's set.
        score: score of the result, presence times predicted quality.
    """

    set: str
    case: str
    indicators: Indicators
    score: float
    dsc: float


def measure_masks(
    segmenter: TextSegmenter, sets: Mapping[str, ImageSet], context: RunContext = RunContext()
) -> list[MeasuredMask]:
    """Segment images with truth masks; leave out images in which nothing was found."""
    measured = []
    total, done = sum(len(one.images) for one in sets.values()), 0
    for name, images in sets.items():
        for case in images.images:
            context.raise_if_cancelled()
            segmenter.set_image(case.image)
            result = segmenter.segment(images.prompt)
            if result.found and result.predicted_iou.size:
                score = dsc(result.mask, case.truth)
                measured.append(MeasuredMask(name, case.name, collect_indicators(result), result.score, score))
            done += 1
            context.report(done, total, name)
    return measured


def measure_without_target(
    segmenter: TextSegmenter, sets: Mapping[str, ImageSet], context: RunContext = RunContext()
) -> dict[str, Any]:
    """Segment the images of each set that do not show the target of its prompt.

    Returns:
        {"images", "found": number of false positives, "expected": the expected DSC of each, or None if there is none,
        "above": number of those with an expected DSC of .7 or more}.
    """
    images = [(one.prompt, image) for one in sets.values() for some in one.without.values() for image in some]
    expected: list[float | None] = []
    for done, (prompt, image) in enumerate(images, 1):
        context.raise_if_cancelled()
        segmenter.set_image(image)
        result = segmenter.segment(prompt)
        expected += [result.expected_dsc] if result.found else []
        context.report(done, len(images), f"{prompt}, without target")
    above = sum((value or 0) >= 0.7 for value in expected)
    return {"images": len(images), "found": len(expected), "expected": expected, "above": above}


def fit(masks: Sequence[MeasuredMask], segmenter: TextSegmenter, prompts: Sequence[str] = ()) -> DscPredictor:
    """Fit a predictor to measured masks, for the segmenter's SAM 2 and settings.

    Args:
        prompts: the prompts of the masks.

    Raises:
        InputError: there are fewer than `MIN_FITTED` masks.
    """
    if len(masks) < MIN_FITTED:
        raise InputError(f"Expected at least {MIN_FITTED} masks to fit to, got {len(masks)}.", "Raise --cases.")
    indicators, scores = [mask.indicators for mask in masks], [mask.dsc for mask in masks]
    return fit_predictor(indicators, scores, segmenter.sam.name, fitted_settings(segmenter.settings), prompts)


def predict(masks: Sequence[MeasuredMask], predictor: DscPredictor) -> np.ndarray:
    """Predict the DSC of masks, (N,) float64."""
    return np.array([predictor.predict(mask.indicators) for mask in masks])


def predict_out_of_fold(masks: Sequence[MeasuredMask], segmenter: TextSegmenter) -> np.ndarray:
    """Predict the DSC of each mask with a predictor that was fitted to the other folds, (N,) float64.

    Cases are assigned to folds at random. Each image is a case of its own in the sets of `benchmark real`, so images of
    one patient may be in different folds.

    Raises:
        InputError: there are too few masks to fit.
    """
    fold = np.random.default_rng(SEED).permutation(len(masks)) % FOLDS
    expected = np.zeros(len(masks))
    for number in range(FOLDS):
        fitted = fit([mask for mask, of in zip(masks, fold) if of != number], segmenter)
        expected[fold == number] = predict([mask for mask, of in zip(masks, fold) if of == number], fitted)
    return expected


def leave_one_set_out(masks: Sequence[MeasuredMask], segmenter: TextSegmenter) -> dict[str, dict[str, float]]:
    """Judge each set with a predictor that was fitted to the other sets only.

    Returns:
        {set: its figures, as in "sets" of `judge`}, without sets for which the others have too few masks.
    """
    found = {}
    for name in dict.fromkeys(mask.set for mask in masks):
        own = [mask for mask in masks if mask.set == name]
        others = [mask for mask in masks if mask.set != name]
        if len(others) >= MIN_FITTED:
            found[name] = judge(own, predict(own, fit(others, segmenter)))["sets"][name]
    return found


def judge(masks: Sequence[MeasuredMask], expected: np.ndarray) -> dict[str, Any]:
    """Compare predicted and measured DSC.

    Args:
        expected: (N,) float, the predicted DSC of each mask.

    Returns:
        JSON values: {"cases", "sets": {set: {"cases", "dsc", "expected", "mae", "spearman", "ranking"}}, "mae",
        "mae_interval", "mae_of_mean", "spearman", "ranking", "ranking_of_score", "ranking_gain", "coverage": {share:
        {"expected_dsc", "score", "random", "truth"}}, "calibration": [{"from", "to", "cases", "expected", "dsc"}]}.
        "mae" is the mean absolute error; "mae_of_mean" is that of predicting the mean DSC for every mask. For "ranking"
        see `ranking_quality`; "ranking_gain" is the 95 % bootstrap interval of its gain over the ranking by score
        (images resampled). "coverage" is the mean DSC of the masks kept when ordered by each criterion.

    Raises:
        InputError: there are no masks.
    """
    if not masks:
        raise InputError("Expected masks to judge, got none: nothing was found in any image.")
    truth = np.array([mask.dsc for mask in masks])
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
            "mae": float(errors[own].mean()),
            "spearman": _spearman(expected[own], truth[own]),
            "ranking": ranking_quality(expected[own], truth[own]),
        }
    orders = {"expected_dsc": expected, "score": score, "truth": truth}
    coverage = {
        f"{share:.0%}": {name: _mean_of_kept(order, truth, share) for name, order in orders.items()}
        | {"random": float(truth.mean())}
        for share in COVERAGE
    }
    return {
        "cases": len(masks),
        "sets": sets,
        "mae": float(errors.mean()),
        "mae_interval": mean_interval(errors),
        "mae_of_mean": float(np.abs(truth - truth.mean()).mean()),
        "spearman": _spearman(expected, truth),
        "ranking": ranking_quality(expected, truth),
        "ranking_of_score": ranking_quality(score, truth),
        "ranking_gain": _ranking_gain(expected, score, truth),
        "coverage": coverage,
        "calibration": _calibration(expected, truth),
    }


def ranking_quality(order: np.ndarray, truth: np.ndarray) -> float:
    """Return the quality of a ranking of masks: 0 for a random order, 1 for the order by true DSC.

    Orders are compared by the area under the curve of the mean DSC of the first n masks over n. This is the
    risk-coverage curve of selective prediction, with 1 - DSC as the risk.

    Args:
        order: (N,), the values to rank by, the best highest.
        truth: (N,), the true DSC.
    """
    area = lambda values: float((np.cumsum(values) / np.arange(1, len(values) + 1)).mean())
    random, best = float(truth.mean()), area(np.sort(truth)[::-1])
    if best - random < 1e-9:
        return 0.0
    return (area(truth[np.argsort(-order, kind="stable")]) - random) / (best - random)


def _ranking_gain(expected: np.ndarray, score: np.ndarray, truth: np.ndarray) -> list[float]:
    gain = lambda *of: ranking_quality(of[0], of[2]) - ranking_quality(of[1], of[2])
    if len(truth) < 3:
        return [0.0, 0.0]
    found = bootstrap(
        (expected, score, truth),
        gain,
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(SEED),
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def _calibration(expected: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    bins = []
    for low, high in pairwise(BINS):
        within = (expected >= low) & ((expected < high) | (high == BINS[-1]))
        if within.any():
            means = {"expected": float(expected[within].mean()), "dsc": float(truth[within].mean())}
            bins.append({"from": low, "to": high, "cases": int(within.sum()), **means})
    return bins


def _mean_of_kept(order: np.ndarray, truth: np.ndarray, share: float) -> float:
    return float(truth[np.argsort(-order, kind="stable")][: max(1, round(share * len(truth)))].mean())


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
