"""The gain of each choice that needs no masks: the text pipeline with and without it, on the same real images.

The choices are added one after the other. Figures belong on the split "validation" while something is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.metrics import dsc
from ..run_context import RunContext
from ..segmentation.affinity import AffinitySettings
from ..segmentation.agreement import AgreementSettings
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from ..segmentation.vote import VoteSettings
from .prompted import mean_interval
from .real import load_sets, without_target

EARLIEST, LATEST = 8, 12
MARGIN = 0.2
AGREEMENT = AgreementSettings(min_iou=0.15, min_iou_in_doubt=0.4, certain=0.9)
BY_WORD = {"brain": {"steps": 7}, "lungs": {"steps": 15}}
"""The best steps by masks on the validation split, with the first starter models."""
THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def plain(settings: Settings) -> Settings:
    """Return the paper's settings with the model's own layer: ten steps, tight boxes, SAM 2's mask as the answer."""
    tight = replace(settings.prompts, margin=0.0)
    settings = replace(settings, by_word={}, prompts=tight, agreement=AgreementSettings(), presence_threshold=0.5)
    settings = replace(settings, affinity=AffinitySettings(), vote=VoteSettings())
    return settings.with_saliency(steps=10, mirror=False, finer=False)


def _by_agreement(settings: Settings) -> Settings:
    return plain(settings).with_saliency(steps=LATEST, earliest=EARLIEST)


def _wide(settings: Settings) -> Settings:
    return replace(_by_agreement(settings), prompts=replace(settings.prompts, margin=MARGIN))


VARIANTS: Mapping[str, Callable[[Settings], Settings]] = {
    "10 steps": plain,
    "steps by word, with masks": lambda settings: replace(plain(settings), by_word=BY_WORD),
    "steps by agreement": _by_agreement,
    "+ boxes 20 % wider": _wide,
    "+ what disagrees is doubted": lambda settings: replace(_wide(settings), agreement=AGREEMENT),
    "+ the mirror image": lambda settings: replace(_wide(settings).with_saliency(mirror=True), agreement=AGREEMENT),
}


def compare_variants(
    segmenter: TextSegmenter,
    data: Path,
    split: str = "validation",
    cases: int = 24,
    sets: Sequence[str] = (),
    context: RunContext = RunContext(),
) -> dict[str, Any]:
    """Measure every variant on the same images, with and without the target.

    Returns:
        {"sets": {name: {"cases", "dsc": {variant: mean}, "coarse_dsc", "missed", "gain": {variant: interval of the mean
        difference to the first}}}, "tumor_free": {kind: {"cases", "found": {variant: share}}}, "presence": {kind:
        {"cases", "found": {threshold: share}}}}, values 0 to 1.

    Raises:
        InputError: see `load_sets`.
    """
    found: dict[str, Any] = {"sets": {}, "tumor_free": {}, "presence": {}}
    for name, image_set in load_sets(data, split, cases, sets, context).items():
        prompt, images, part = image_set.prompt, image_set.images, context.titled(name)
        rows = [_results(segmenter, prompt, image.image, part, at, len(images)) for at, image in enumerate(images)]
        truths = [image.truth for image in images]
        final = {variant: _scores(rows, variant, "mask", truths) for variant in VARIANTS}
        coarse = {variant: _scores(rows, variant, "coarse", truths) for variant in VARIANTS}
        first = np.array(final["10 steps"])
        found["sets"][name] = {
            "cases": len(images),
            "dsc": {variant: float(np.mean(scores)) for variant, scores in final.items()},
            "coarse_dsc": {variant: float(np.mean(scores)) for variant, scores in coarse.items()},
            "missed": {variant: float(np.mean([not row[variant].found for row in rows])) for variant in VARIANTS},
            "gain": {variant: mean_interval(np.array(scores) - first) for variant, scores in final.items()},
        }
        found["presence"][name] = _by_threshold(rows)
        for kind, without in without_target(name, data, split, cases).items():
            rows = [_results(segmenter, prompt, image, part, at, len(without)) for at, image in enumerate(without)]
            shares = {variant: float(np.mean([row[variant].found for row in rows])) for variant in VARIANTS}
            found["tumor_free"][kind] = {"cases": len(without), "found": shares}
            found["presence"][kind] = _by_threshold(rows)
    return found


def _results(
    segmenter: TextSegmenter, prompt: str, image: np.ndarray, context: RunContext, done: int, count: int
) -> dict[str, Any]:
    """Segment by each variant; SAM 2 embeds the image once."""
    context.raise_if_cancelled()
    segmenter.set_image(image)
    found = {
        variant: segmenter.with_settings(change(segmenter.settings)).segment(prompt)
        for variant, change in VARIANTS.items()
    }
    context.report(done + 1, count, prompt)
    return found


def _scores(rows: Sequence[dict[str, Any]], variant: str, of: str, truths: Sequence[np.ndarray]) -> list[float]:
    return [dsc(getattr(row[variant], of), truth) for row, truth in zip(rows, truths)]


def _by_threshold(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compute the share of images whose presence alone reaches a threshold."""
    presence = np.array([row["10 steps"].where.presence.probability for row in rows])
    return {
        "cases": len(rows),
        "found": {f"{threshold:g}": float((presence >= threshold).mean()) for threshold in THRESHOLDS},
    }
