"""Search for M2IB settings without masks: a Bayesian search by the models' judgment of their own answer.

Optuna's tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes the settings; the settings of the
model are its first trial. A trial is scored on each image by the geometric mean of

- agreement: IoU of SAM 2's mask with the coarse mask (`segmentation.agreement`),
- stability: DSC of the mask with the one from the mirror image and another seed of the noise,
- quality: the IoU that SAM 2 predicts for its masks,

and the mean over the images is weighted by their presence, which no setting changes. None of it uses the truth: a mask
of another object that is outlined well scores high too.
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
    """The search space: layers, and betas (on a logarithmic scale) and steps between their bounds, both included.

    Raises:
        InputError: no layer, or bounds that are none.
    """

    layers: tuple[int, ...]
    betas: tuple[float, float] = (0.1, 2.0)
    steps: tuple[int, int] = (5, 20)

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("Expected at least one block to try, got none.", "Name blocks of the model.")
        if not 0 < self.betas[0] <= self.betas[1]:
            raise InputError(f"Expected weights of compression above 0, got {self.betas[0]:g} to {self.betas[1]:g}.")
        if not 1 <= self.steps[0] <= self.steps[1]:
            raise InputError(f"Expected numbers of steps from 1 on, got {self.steps[0]} to {self.steps[1]}.")


@dataclass(frozen=True)
class LabelFreeTrial:
    """Settings and the scores of their answers, means over the images, 0 to 1.

    Args:
        score: what the search maximizes.
        dsc: the mean Dice of the final mask, where there are truth masks; the search does not use them.
        default: whether these are the settings of the model, which may differ by prompt and image.
        earliest: the first step whose map may be taken, the agreement of the models chooses; `steps` where there is no
            choice.
        by_image: the part of each image in the score, which is their mean.
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
        """The step whose map is taken, for people."""
        return f"{self.earliest}-{self.steps}, by agreement" if 0 < self.earliest < self.steps else str(self.steps)


def search_without_masks(
    segmenter: TextSegmenter,
    cases: Sequence[SearchCase],
    space: Space,
    trials: int = 20,
    context: RunContext = RunContext(),
) -> list[LabelFreeTrial]:
    """Try the model's settings and the search's proposals; the choice comes first, the others by `score`.

    The choice is the best by score where it is better than the model's own settings beyond doubt, else these.

    Args:
        trials: their number, including the model's own settings.

    Raises:
        InputError: no case, or optuna is not installed.
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
        trial = _measure(settings.with_saliency(**chosen), views)  # one step, as `--steps` gives it
        study.tell(proposal, trial.score)
        done.append(trial)
        context.report(number, trials, f"layer {trial.layer}, beta {trial.beta:.3g}, {trial.steps} steps")
    return _choice_first(done)


def _choice_first(trials: Sequence[LabelFreeTrial]) -> list[LabelFreeTrial]:
    """Order trials, of which the first are the model's own settings: the choice, then by score, the best first.

    The best by score is the choice where its gain, image by image, has a 95 % bootstrap interval above 0: the best of
    many trials scores higher by chance.
    """
    default = trials[0]
    ordered = sorted(trials, key=lambda trial: trial.score, reverse=True)
    gains = np.subtract(ordered[0].by_image, default.by_image)
    if len(gains) > 1 and mean_interval(gains)[0] > 0:
        return ordered
    return [default, *(trial for trial in ordered if trial is not default)]


def share_of_gap_closed(trials: Sequence[LabelFreeTrial]) -> float | None:
    """Return the share of the Dice gain from the default to the best by masks that the choice, the first trial, has.

    None without masks, or where no trial is better than the default by .005.
    """
    default = next(trial.dsc for trial in trials if trial.default)
    scores = [trial.dsc for trial in trials if trial.dsc is not None]
    if default is None or max(scores) - default < 0.005:
        return None
    assert trials[0].dsc is not None
    return (trials[0].dsc - default) / (max(scores) - default)


class _Views:
    """An image of a case and its mirror image, each embedded once for all trials."""

    def __init__(self, segmenter: TextSegmenter, case: SearchCase) -> None:
        self.case = case
        saliency = replace(segmenter.settings.saliency, mirror=True)
        self._mirrored = replace(segmenter.settings, saliency=saliency).saliency_for(case.prompt).mirror
        images = (case.image, np.ascontiguousarray(case.image[:, ::-1]) if self._mirrored else case.image)
        self._segmenters = [TextSegmenter(segmenter.clip, segmenter.sam, segmenter.settings) for _ in images]
        for one, image in zip(self._segmenters, images):
            one.set_image(image)

    def segment(self, settings: Settings) -> tuple[PromptedResult, float]:
        """Return the answer, and its Dice with the answer on the other view under other noise."""
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
    """Enqueue the model's own settings, where they lie in the space."""
    from optuna.trial import create_trial

    values = {"layer": trial.layer, "beta": trial.beta, "steps": trial.steps}
    try:
        known = create_trial(params=values, distributions=distributions, value=trial.score)
    except ValueError:  # outside
        return
    study.add_trial(known)
