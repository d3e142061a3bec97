"""The gain and cost of each option of the method: the pipeline with and without it, on the same images.

Options whose names begin with "paper" start from the paper's method and add one choice at a time, none of which needs
masks. Measure on the split "validation" while choosing, and once on "test" with what was chosen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..choices import CoarseMethod, VoteMethod
from ..errors import InputError
from ..evaluation.metrics import dsc
from ..run_context import RunContext
from ..segmentation.affinity import SHARP, AffinitySettings
from ..segmentation.agreement import AgreementSettings
from ..segmentation.coarse import CoarseSettings
from ..segmentation.crf import FAR
from ..segmentation.result import Localization, PromptedResult
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from ..segmentation.vote import VoteSettings
from .attribution import g_score_cam, grad_cam, locate_by
from .controls import make_full_box
from .multi_scale import multi_scale
from .phantom_benchmark import TASKS, make_lesion_free_images
from .prompted import ImageSet, check_split, mean_interval
from .real import load_sets

BASE = "as it is"
STEPS_BY_WORD = {"brain": {"steps": 7}, "lungs": {"steps": 15}}
"""The best steps by masks on the validation split, with the first starter models."""
DOUBT = AgreementSettings(min_iou=0.15, min_iou_in_doubt=0.4, certain=0.9)
THRESHOLDS = (0.3, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Presence thresholds tried instead of the model's own."""
Locate = Callable[[TextSegmenter, str, Localization], Localization]


@dataclass(frozen=True)
class Option:
    """A change of the method.

    Args:
        settings: changes the settings.
        locate: computes another map from the segmenter, the prompt and M2IB's result; None keeps M2IB's map.
        wording: rewords the prompt.
    """

    settings: Callable[[Settings], Settings] = lambda settings: settings
    locate: Locate | None = None
    wording: Callable[[str], str] = lambda prompt: prompt


def _affinity(**values: Any) -> Option:
    return Option(lambda settings: replace(settings, affinity=AffinitySettings(**values)))


def _vote(method: VoteMethod, several: bool) -> Option:
    return Option(lambda settings: replace(settings, vote=VoteSettings(method, several=several)))


def _coarse(cut: CoarseSettings) -> Option:
    return Option(lambda settings: replace(settings, coarse=cut))


def plain(settings: Settings) -> Settings:
    """Return the paper's settings with the model's own layer: ten steps, tight boxes, SAM 2's mask as the answer."""
    tight = replace(settings.prompts, margin=0.0)
    settings = replace(settings, by_word={}, prompts=tight, agreement=AgreementSettings(), presence_threshold=0.5)
    settings = replace(settings, affinity=AffinitySettings(), vote=VoteSettings())
    return settings.with_saliency(steps=10, mirror=False, finer=False)


def _from_paper(margin: float = 0.0, doubt: bool = False, mirror: bool = False) -> Option:
    """Extend the paper's method.

    Steps 8 to 12 by agreement are always added; wider boxes, doubt of masks that disagree with the map, and the mirror
    image are optional.
    """

    def change(settings: Settings) -> Settings:
        settings = plain(settings).with_saliency(steps=12, earliest=8, mirror=mirror)
        settings = replace(settings, prompts=replace(settings.prompts, margin=margin))
        return replace(settings, agreement=DOUBT) if doubt else settings

    return Option(change)


def _presence(threshold: float) -> Option:
    return Option(lambda settings: replace(settings, presence_threshold=threshold))


def _wording(template: str) -> Option:
    """Reword prompts of the form "brain tumor"; other prompts stay the same."""
    return Option(wording=lambda prompt: re.sub(r"^(\w+) tumor$", template, prompt))


OPTIONS: Mapping[str, Option] = {
    BASE: Option(),
    "affinity of SAM 2, published": _affinity(steps=1),
    "affinity, twice": _affinity(steps=2),
    "affinity, sharper (10), half of it": _affinity(steps=1, sharpness=10.0, share=0.5),
    "affinity, sharper (30)": Option(lambda settings: replace(settings, affinity=SHARP)),
    "affinity, sharper (30), half of it": _affinity(steps=1, sharpness=30.0, share=0.5, by_channel=True),
    "affinity, sharper (10), nearby (.1)": _affinity(steps=1, sharpness=10.0, reach=0.1, by_channel=True),
    "mirror image": Option(lambda settings: settings.with_saliency(mirror=True)),
    "finer grid (4 shifts)": Option(lambda settings: settings.with_saliency(finer=True)),
    "two scales (whole and 4 crops)": Option(locate=multi_scale),
    "3 prompts, mean": _vote(VoteMethod.MEAN, False),
    "3 prompts, STAPLE": _vote(VoteMethod.STAPLE, False),
    "3 prompts, by the map": _vote(VoteMethod.MAP, False),
    "3 prompts x 3 masks, mean": _vote(VoteMethod.MEAN, True),
    "3 prompts x 3 masks, STAPLE": _vote(VoteMethod.STAPLE, True),
    "3 prompts x 3 masks, by the map": _vote(VoteMethod.MAP, True),
    "k-means, as released": _coarse(CoarseSettings(CoarseMethod.KMEANS)),
    "CRF, as released": _coarse(CoarseSettings(CoarseMethod.CRF)),
    "CRF of far reach": _coarse(CoarseSettings(CoarseMethod.CRF, crf=FAR)),
    "GradCAM in place of M2IB": Option(locate=locate_by(grad_cam)),
    "gScoreCAM in place of M2IB": Option(locate=locate_by(g_score_cam)),
    "wording: tumour": _wording(r"\1 tumour"),
    "wording: lesion": _wording(r"\1 lesion"),
    "wording: mass": _wording(r"\1 mass"),
    "wording: nodule": _wording(r"\1 nodule"),
    "wording: cancer": _wording(r"\1 cancer"),
    "wording: tumor alone": _wording(r"tumor"),
    "wording: of a report": _wording(r"irregular mass in the \1"),
    "paper": Option(plain),
    "paper, steps by word, with masks": Option(lambda settings: replace(plain(settings), by_word=STEPS_BY_WORD)),
    "paper, steps by agreement": _from_paper(),
    "paper, + boxes 20 % wider": _from_paper(margin=0.2),
    "paper, + what disagrees is doubted": _from_paper(margin=0.2, doubt=True),
    "paper, + the mirror image": _from_paper(margin=0.2, doubt=True, mirror=True),
    **{f"presence {threshold:g}": _presence(threshold) for threshold in THRESHOLDS},
}


def image_sets(
    data: Path | None, split: str, cases: int, names: Sequence[str] = (), context: RunContext = RunContext()
) -> dict[str, ImageSet]:
    """Load sets of real images as `load_sets` does, or make phantoms of every benchmark task if `data` is None."""
    if data is not None:
        return load_sets(data, split, cases, names, context)
    check_split(split)
    sets = {}
    for name, task in TASKS.items():
        free = {f"{name}, none": make_lesion_free_images(task.modality, split, cases)} if task.lesions else {}
        sets[name] = ImageSet(task.prompt, task.images(split, range(cases)), without=free)
    return sets


def choose_options(names: Sequence[str]) -> dict[str, Option]:
    """Choose the base and all options whose names begin with one of `names`; all options if there are no names.

    Raises:
        InputError: no option's name begins with one of the names.
    """
    for wanted in names:
        if not any(name.startswith(wanted) for name in OPTIONS):
            raise InputError(f"Expected options among {'; '.join(OPTIONS)}, got '{wanted}'.", "Choose from these.")
    return {
        name: option
        for name, option in OPTIONS.items()
        if not names or name == BASE or any(name.startswith(wanted) for wanted in names)
    }


def measure_options(
    segmenter: TextSegmenter,
    sets: Mapping[str, ImageSet],
    options: Mapping[str, Option],
    context: RunContext = RunContext(),
) -> dict[str, Any]:
    """Measure every option on the same images.

    Returns:
        {set: {"cases", "map_seconds", "options": {option: {"dsc", "coarse_dsc", "found", "seconds", "gain", "interval",
        "coarse_gain", "coarse_interval"}}, "without_target": {kind: {"cases", "found": {option: share}}}}}. Values are
        means, 0 to 1. Gains are differences to the base image by image; intervals are 95 % bootstrap intervals of their
        mean, None for a single image. Seconds are CPU seconds from the text to the mask, without SAM 2's embedding of
        the image, which all options share.
    """
    figures: dict[str, Any] = {}
    for name, image_set in sets.items():
        prompt, part = image_set.prompt, context.titled(name)
        rows: dict[str, list[tuple[float, float, bool, float]]] = {option: [] for option in options}
        map_seconds = []
        for done, case in enumerate(image_set.images, 1):
            segmenter.set_image(case.image)
            segmenter.predict_mask(make_full_box(case.truth.shape))  # embeds the image
            found, seconds_of_map = _segment_by_each(segmenter, prompt, options, part)
            map_seconds.append(seconds_of_map)
            for option, (result, seconds) in found.items():
                rows[option].append(
                    (dsc(result.mask, case.truth), dsc(result.coarse, case.truth), result.found, seconds)
                )
            part.report(done, len(image_set.images), prompt)
        without = {}
        for kind, images in image_set.without.items():
            counts = dict.fromkeys(options, 0)
            for done, image in enumerate(images, 1):
                segmenter.set_image(image)
                for option, (result, _) in _segment_by_each(segmenter, prompt, options, part)[0].items():
                    counts[option] += result.found
                part.report(done, len(images), f"{prompt}, without target")
            shares = {option: count / len(images) for option, count in counts.items()}
            without[kind] = {"cases": len(images), "found": shares}
        figures[name] = {
            "cases": len(image_set.images),
            "map_seconds": float(np.mean(map_seconds)),
            "options": {option: _figures(found, rows[BASE]) for option, found in rows.items()},
            "without_target": without,
        }
    return figures


def _segment_by_each(
    segmenter: TextSegmenter, prompt: str, options: Mapping[str, Option], context: RunContext
) -> tuple[dict[str, tuple[PromptedResult, float]], float]:
    """Segment the image with each option; return the results with their CPU seconds, and those of the base map."""
    context.raise_if_cancelled()
    started = time.process_time()
    located = segmenter.locate([prompt])[0][prompt]
    seconds = time.process_time() - started
    return {name: _segment(segmenter, one, prompt, located, seconds) for name, one in options.items()}, seconds


def _segment(
    segmenter: TextSegmenter, option: Option, prompt: str, located: Sequence[Localization], map_seconds: float
) -> tuple[PromptedResult, float]:
    """Segment with an option, reusing the base map if it is the same; also return the CPU seconds."""
    changed = segmenter.with_settings(option.settings(segmenter.settings))
    asked = option.wording(prompt)
    same = asked == prompt and changed.settings.saliency_for(prompt) == segmenter.settings.saliency_for(prompt)
    started = time.process_time()
    if option.locate:
        located = [option.locate(changed, prompt, located[-1])]
    given = [{prompt: list(located)}] if same else None
    result = changed.segment_each([asked], located=given)[0][asked]
    seconds = time.process_time() - started
    return result, seconds + (map_seconds if same and not option.locate else 0.0)


def _figures(rows: Sequence[tuple[float, float, bool, float]], base: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    final, coarse, found, seconds = (np.array(column, float) for column in zip(*rows))
    final_gain, coarse_gain = (
        values - np.array([row[at] for row in base]) for at, values in enumerate((final, coarse))
    )
    interval = mean_interval if len(rows) > 1 else lambda gain: None
    return {
        "dsc": float(final.mean()),
        "coarse_dsc": float(coarse.mean()),
        "found": float(found.mean()),
        "seconds": float(seconds.mean()),
        "gain": float(final_gain.mean()),
        "interval": interval(final_gain),
        "coarse_gain": float(coarse_gain.mean()),
        "coarse_interval": interval(coarse_gain),
    }
