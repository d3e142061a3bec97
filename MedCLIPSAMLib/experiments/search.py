"""Search for M2IB settings on a few images with truth masks, as in the paper (a grid scored by Dice).

As the search needs truth masks, its result is no longer zero-shot. It is tuned on those images, so measure it on
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ..counted import counted
from ..evaluation.metrics import dsc
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter


@dataclass(frozen=True)
class Trial:
    """One combination of settings, with the mean Dice of its coarse and final masks, 0 to 1."""

    layer: int
    beta: float
    steps: int
    coarse_dsc: float
    dsc: float


@dataclass(frozen=True)
class SearchCase:
    """An image, (H, W, 3) uint8, its prompt, and its truth mask, (H, W) bool.

    `label_free.search_without_masks` needs no truth: it may be None.
    """

    image: np.ndarray
    prompt: str
    truth: np.ndarray | None


def search(
    segmenter: TextSegmenter,
    cases: Sequence[SearchCase],
    layers: Sequence[int],
    betas: Sequence[float],
    steps: Sequence[int] = (10,),
    context: RunContext = RunContext(),
) -> list[Trial]:
    """Try every combination on every case; return trials with the best (by final Dice, then coarse Dice) first.

    The presence check is off, as the search is about location only. Invalid values are rejected before the first trial.
    """
    settings = replace(segmenter.settings, presence_threshold=0.0)
    grid = [
        settings.with_saliency(layer=layer, beta=beta, steps=count)
        for layer, beta, count in dict.fromkeys(product(layers, betas, steps))
    ]
    trials = []
    for done, changed in enumerate(grid, 1):
        trial, tried, scores = segmenter.with_settings(changed), changed.saliency, []
        for case in cases:
            trial.set_image(case.image)
            result = trial.segment(case.prompt, context=context.without_progress())
            assert case.truth is not None
            scores.append((dsc(result.coarse, case.truth), dsc(result.mask, case.truth)))
        coarse, final = np.mean(scores, axis=0)
        trials.append(Trial(tried.layer, tried.beta, tried.steps, float(coarse), float(final)))
        words = f"layer {tried.layer}, beta {tried.beta:g}, {counted(tried.steps, 'step')}"
        context.report(done, len(grid), words)
    return sorted(trials, key=lambda trial: (trial.dsc, trial.coarse_dsc), reverse=True)
