"""One prompt on images with truth masks: the whole pipeline, and controls that test whether the text matters.

Controls, each with the same SAM 2 on the same images:
    random_box       the pipeline's boxes, moved to random places;
    full_box         one box around the whole image;
    other_saliency   the pipeline's boxes on the next image.
A control near the pipeline's figure shows that the text did not contribute to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from ..errors import InputError
from ..evaluation.metrics import dsc, nsd
from ..run_context import RunContext
from ..segmentation.result import PromptedResult
from ..segmentation.sam_prompts import SamPrompts
from ..segmentation.segmenter import TextSegmenter
from .controls import LOOSE, make_full_box, make_true_boxes, move_boxes, scale_boxes

NSD_TOLERANCE = 2.0
"""Tolerance of the NSD, in pixels."""
CONTROLS = ("random_box", "full_box", "other_saliency")
FIGURES = ("dsc", "nsd", "coarse_dsc", "presence", "sam_true_box_dsc", "sam_loose_box_dsc")
RESAMPLES, SEED = 2000, 12
"""Number and seed of the bootstrap resamples."""
SPLITS = ("validation", "test")
"""Splits to report figures on: nothing was trained on them."""


@dataclass(frozen=True)
class TruthImage:
    """An image, (H, W, 3) uint8, and its truth mask, (H, W) bool."""

    name: str
    image: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class ImageSet:
    """Images for one prompt.

    Args:
        images: images that show the target of the prompt, with truth masks.
        skipped: names of the files that cannot be used.
        without: images without the target, (H, W, 3) uint8, by kind.
    """

    prompt: str
    images: Sequence[TruthImage]
    skipped: Sequence[str] = ()
    without: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """The result on one image.

    Args:
        result: result of the pipeline.
        seconds: time from image to mask.
        scores: scores by name, 0 to 1: "dsc", "nsd", "coarse_dsc", "presence", "sam_true_box_dsc", "sam_loose_box_dsc"
            and `CONTROLS`; 0 if nothing was found.
    """

    case: TruthImage
    result: PromptedResult
    seconds: float
    scores: dict[str, float]


def check_split(split: str) -> None:
    """Check that a split is one of `SPLITS`.

    Raises:
        InputError: it is not.
    """
    if split not in SPLITS:
        raise InputError(f"Expected the split {' or '.join(SPLITS)}, got '{split}'.", "Choose one of them.")


def measure_prompt(
    segmenter: TextSegmenter, prompt: str, cases: Sequence[TruthImage], context: RunContext = RunContext()
) -> list[Measured]:
    """Measure a prompt on images that all show its target."""
    rng = np.random.default_rng(SEED)
    measured = []
    for done, case in enumerate(cases, 1):
        context.raise_if_cancelled()
        started = time.perf_counter()
        segmenter.set_image(case.image)
        result = segmenter.segment(prompt)
        seconds = time.perf_counter() - started
        truth, outlined = case.truth, partial(_outline, segmenter, case.truth)
        scores = {
            "dsc": dsc(result.mask, truth),
            "nsd": nsd(result.mask, truth, (1.0, 1.0), NSD_TOLERANCE),
            "coarse_dsc": dsc(result.coarse, truth),
            "presence": result.where.presence.probability,
            "sam_true_box_dsc": outlined(make_true_boxes(truth)),
            "sam_loose_box_dsc": outlined(make_true_boxes(truth, LOOSE)),
            "random_box": outlined(move_boxes(result.sam_prompts.boxes, truth.shape, rng)),
            "full_box": outlined(make_full_box(truth.shape)),
        }
        measured.append(Measured(case, result, seconds, scores))
        context.report(done, len(cases), prompt)
    for own, other in zip(measured, measured[1:] + measured[:1]):
        truth = own.case.truth
        segmenter.set_image(own.case.image)
        boxes = scale_boxes(other.result.sam_prompts.boxes, other.case.truth.shape, truth.shape)
        own.scores["other_saliency"] = _outline(segmenter, truth, boxes)
    return measured


def _outline(segmenter: TextSegmenter, truth: np.ndarray, boxes: SamPrompts) -> float:
    """Compute the DSC of SAM 2's mask for boxes on the segmenter's image; 0 without boxes."""
    return dsc(segmenter.predict_mask(boxes)[0], truth) if len(boxes) else 0.0


def set_figures(measured: Sequence[Measured]) -> dict[str, Any]:
    """Average the figures of a set, as JSON values.

    Returns:
        {"cases", `FIGURES`: means, 0 to 1, in which an image without a find counts as 0, "intervals": 95 % intervals of
        the means, "empty": number of cases in which nothing was found, "seconds": per image, "controls": {...}}.
    """
    values = {name: np.array([case.scores[name] for case in measured]) for name in (*FIGURES, *CONTROLS)}
    means = {name: float(scores.mean()) for name, scores in values.items()}
    return {
        "cases": len(measured),
        **{name: means[name] for name in FIGURES},
        "intervals": {name: mean_interval(scores) for name, scores in values.items()},
        "empty": sum(not case.result.found for case in measured),
        "seconds": float(np.mean([case.seconds for case in measured])),
        "controls": {name: means[name] for name in CONTROLS},
    }


def mean_interval(values: np.ndarray) -> list[float]:
    """Compute the 95 % bootstrap interval of a mean (percentiles of 2000 resamples).

    If all values are equal, both ends are the mean.
    """
    if np.ptp(values) == 0:
        return [float(values[0])] * 2
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=np.random.default_rng(SEED)
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def measure_empty_share(
    segmenter: TextSegmenter, prompt: str, images: Sequence[np.ndarray], context: RunContext = RunContext()
) -> float:
    """Compute the fraction of images without the target, (H, W, 3) uint8, on which the prompt finds nothing."""
    empty = 0
    for done, image in enumerate(images, 1):
        context.raise_if_cancelled()
        segmenter.set_image(image)
        empty += not segmenter.segment(prompt).found
        context.report(done, len(images), f"{prompt}, without target")
    return empty / len(images)
