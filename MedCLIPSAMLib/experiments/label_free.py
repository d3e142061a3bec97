"""Search for M2IB settings without masks: a Bayesian search scored by the models' judgment of their own answers.

Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes settings; the model's own settings
are the first trial. A trial is scored on each image by the geometric mean of

- agreement: IoU of SAM 2's mask with the coarse mask (`segmentation.agreement`),
- stability: DSC of the mask with the one from the mirror image and another noise seed,
- quality: the IoU that SAM 2 predicts for its masks.

The mean over the images is weighted by their presence, which no setting changes. The score does not use the truth, so
a good outline of the wrong object also scores high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, require_extra
from ..evaluation.metrics import dsc
from ..run_context import RunContext
from ..segmentation.result import PromptedResult
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from .prompted import mean_interval
from .search import SearchCase

if TYPE_CHECKING:
    import optuna

SEED = 12
"""Seed of the proposals."""


@dataclass(frozen=True)
class Space:
    """The search space: layers, and inclusive ranges of betas (on a logarithmic scale) and steps.

    Raises:
        InputError: there is no layer, or a range is invalid.
    """

    layers: tuple[int, ...]
    betas: tuple[float, float] = (0.1, 2.0)
    steps: tuple[int, int] = (5, 20)

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("Expected at least one block to try, got none.", "Name one or more blocks of the model.")
        if not 0 < self.betas[0] <= self.betas[1]:
            raise InputError(f"Expected ascending betas above 0, got {self.betas[0]:g} to {self.betas[1]:g}.")
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise InputError(f"Expected ascending numbers of steps from 1, got {self.steps[0]} to {self.steps[1]}.")


@dataclass(frozen=True)
class LabelFreeTrial:
    """Settings and the scores of their answers, means over the images, 0 to 1.

    Args:
        score: the quantity that the search maximizes.
        dsc: mean Dice of the final mask, or None without truth masks; the search does not use it.
        default: whether these are the model's own settings, which may differ by prompt and image.
        earliest: the first step whose map may be used; the models' agreement selects one of the steps from it to
            `steps`. It equals `steps` if there is no choice.
        by_image: contribution of each image; `score` is their mean.
    """

    layer: int
    beta: float
    steps: int
    score: float
    agreement: float
    stability: float
    quality: float
    dsc: float | None
    default: bool = False
    earliest: int = 0
    by_image: tuple[float, ...] = ()

    @property
    def step(self) -> str:
        """The step whose map is used, as text to display."""
        return f"{self.earliest}-{self.steps}, by agreement" if 0 < self.earliest < self.steps else str(self.steps)


def search_without_masks(
    segmenter: TextSegmenter,
    cases: Sequence[SearchCase],
    space: Space,
    trials: int = 20,
    context: RunContext = RunContext(),
) -> list[LabelFreeTrial]:
    """Try the model's own settings and the search's proposals; return the chosen trial first, then the others by score.

    The trial with the best score is chosen if it is significantly better than the model's own settings; otherwise
    these are chosen.

    Args:
        trials: number of trials, including the model's own settings.

    Raises:
        InputError: there is no case, or optuna is not installed.
    """
    require_extra("search", "A search without masks")
    if not cases:
        raise InputError("Expected at least one image to search on, got none.")
    views = [_Views(segmenter, case) for case in cases]
    settings = replace(segmenter.settings, presence_threshold=0.0)
    done = [_measure(settings, views, default=True)]
    context.report(1, trials, "the model's own settings")
    study = _study()
    distributions = _distributions(space)
    _tell_default(study, done[0], distributions)
    for number in range(2, trials + 1):
        proposal = study.ask(distributions)
        chosen = proposal.params
        trial = _measure(settings.with_saliency(**chosen), views)  # a single step, as with `--steps`
        study.tell(proposal, trial.score)
        done.append(trial)
        context.report(number, trials, f"layer {trial.layer}, beta {trial.beta:.3g}, {trial.steps} steps")
    return _choice_first(done)


def _choice_first(trials: Sequence[LabelFreeTrial]) -> list[LabelFreeTrial]:
    """Order trials with the chosen one first and the others by descending score.

    The best trial by score is chosen only if the 95 % bootstrap interval of its gain, image by image, lies above 0: the
    best of many trials scores higher by chance.

    Args:
        trials: the model's own settings come first.
    """
    default = trials[0]
    ordered = sorted(trials, key=lambda trial: trial.score, reverse=True)
    gains = np.subtract(ordered[0].by_image, default.by_image)
    if len(gains) > 1 and mean_interval(gains)[0] > 0:
        return ordered
    return [default, *(trial for trial in ordered if trial is not default)]


def share_of_gap_closed(trials: Sequence[LabelFreeTrial]) -> float | None:
    """Return the fraction of the possible Dice gain that the chosen trial achieves.

    The possible gain is that of the trial with the best Dice over the model's own settings; the first trial is the
    chosen one. None without truth masks, or if no trial is better than the model's own settings by .005.
    """
    default = next(trial.dsc for trial in trials if trial.default)
    scores = [trial.dsc for trial in trials if trial.dsc is not None]
    if default is None or max(scores) - default < 0.005:
        return None
    assert trials[0].dsc is not None
    return (trials[0].dsc - default) / (max(scores) - default)


class _Views:
    """The image of a case and its mirror image, each embedded once for all trials."""

    def __init__(self, segmenter: TextSegmenter, case: SearchCase) -> None:
        self.case = case
        saliency = replace(segmenter.settings.saliency, mirror=True)
        self._mirrored = replace(segmenter.settings, saliency=saliency).saliency_for(case.prompt).mirror
        images = (case.image, np.ascontiguousarray(case.image[:, ::-1]) if self._mirrored else case.image)
        self._segmenters = [TextSegmenter(segmenter.clip, segmenter.sam, segmenter.settings) for _ in images]
        for one, image in zip(self._segmenters, images):
            one.set_image(image)

    def segment(self, settings: Settings) -> tuple[PromptedResult, float]:
        """Return the answer, and its Dice with the answer on the other view with other noise."""
        other = settings.with_saliency(seed=settings.saliency.seed + 1)
        pairs = zip(self._segmenters, (settings, other))
        first, second = (one.with_settings(wanted).segment(self.case.prompt) for one, wanted in pairs)
        turned = second.mask[:, ::-1] if self._mirrored else second.mask
        return first, dsc(first.mask, turned)


def _measure(settings: Settings, views: Sequence[_Views], default: bool = False) -> LabelFreeTrial:
    rows, weights, scores = [], [], []
    for view in views:
        result, stability = view.segment(settings)
        quality = float(np.clip(result.predicted_iou.mean(), 0, 1)) if result.predicted_iou.size else 0.0
        rows.append((result.agreement, stability, quality))
        weights.append(result.where.presence.probability + 1e-9)
        if view.case.truth is not None:
            scores.append(dsc(result.mask, view.case.truth))
    by_image = np.prod(rows, axis=1) ** (1 / 3) * weights / np.mean(weights)
    agreement, stability, quality = (float(value) for value in np.average(rows, axis=0, weights=weights))
    truth = float(np.mean(scores)) if scores else None
    used = settings.saliency_for(views[0].case.prompt)
    scored = float(by_image.mean()), agreement, stability, quality, truth, default
    return LabelFreeTrial(used.layer, used.beta, used.steps, *scored, used.candidates[0], tuple(map(float, by_image)))


def _study() -> optuna.Study:
    """Make an optuna study without its log."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED, n_startup_trials=6)
        )
    finally:
        optuna.logging.set_verbosity(before)


def _distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        "layer": CategoricalDistribution(space.layers),
        "beta": FloatDistribution(*space.betas, log=True),
        "steps": IntDistribution(*space.steps),
    }


def _tell_default(
    study: optuna.Study, trial: LabelFreeTrial, distributions: dict[str, optuna.distributions.BaseDistribution]
) -> None:
    """Add the model's own settings to the study as a finished trial, if they lie in the search space."""
    from optuna.trial import create_trial

    values = {"layer": trial.layer, "beta": trial.beta, "steps": trial.steps}
    try:
        known = create_trial(params=values, distributions=distributions, value=trial.score)
    except ValueError:  # outside the search space
        return
    study.add_trial(known)
