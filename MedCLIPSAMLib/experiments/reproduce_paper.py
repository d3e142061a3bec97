"""The paper's zero-shot experiment on its test sets with this engine: masks written to a folder, and their scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ..choices import CoarseMethod, ComponentRule, Precision, SamPromptKind
from ..errors import InputError, MedCLIPSAMError
from ..evaluation.folders import ONLY_SEGMENT, Score
from ..evaluation.metrics import dsc, hd95, nsd, nsd_as_published
from ..files.atomic import atomic_path
from ..files.claim import claim
from ..run_context import RunContext
from ..segmentation.affinity import AffinitySettings
from ..segmentation.agreement import AgreementSettings
from ..segmentation.coarse import CoarseSettings
from ..segmentation.components import ComponentSettings
from ..segmentation.prompts import load_prompt_sets
from ..segmentation.sam_prompts import SamPromptSettings
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from ..segmentation.tidy import keep_largest_parts
from ..segmentation.vote import VoteSettings
from ..volumes import SliceStack, read_volume
from .paper import (
    PER_IMAGE,
    SCRIPT_BETA,
    SCRIPT_LAYER,
    SEARCHED_BETAS,
    SEARCHED_IMAGES,
    SEARCHED_LAYERS,
    SEED,
    PaperTask,
    TestSet,
    find_validation_set,
    read_mask,
    read_prompts,
)
from .search import SearchCase, search

TOLERANCE = 2.0
PAPER_DEPTH = 12
"""Number of blocks of the vision tower to which the authors' layer numbers refer."""
PAPER_SALIENCY = {"steps": 10, "samples": 10, "seed": SEED, "mirror": False, "finer": False}
"""The authors' M2IB settings for all tasks."""


@dataclass(frozen=True)
class StyleRun:
    """One test set with one style of prompts.

    Args:
        scores: scores of every case, with lengths in pixels; their `note` tells why a case has no prediction.
        inflated: the NSD as published for every case, in the same order; see `metrics.nsd_as_published`.
        settings: description of where the M2IB settings come from.
    """

    task: PaperTask
    style: str
    scores: list[Score]
    inflated: list[float]
    settings: str


def prompts_of(tests: TestSet, style: str, prompt_dir: Path | None) -> dict[str, str] | None:
    """Return the prompt of each case; None for P3 without a file of prompts.

    In `prompt_dir`, FOLDER_testing.json has the prompts of P3, and FOLDER_STYLE.json those of any style, such as
    FOLDER_P2.json. Without a file, the shipped prompts of P0 and P2 are used.
    """
    names = [tests.folder.name, tests.task.folder]
    kinds = ["testing", style] if style == PER_IMAGE else [style]
    for path in (prompt_dir / f"{name}_{kind}.json" for name in names for kind in kinds) if prompt_dir else ():
        if path.is_file():
            return read_prompts(path, tests)
    if style == PER_IMAGE:
        return None
    text = load_prompt_sets()[tests.task.prompt_set].prompts(style)[0]
    return dict.fromkeys(tests.images, text)


def settings_of(
    segmenter: TextSegmenter, tests: TestSet, prompt: str, searched: bool, context: RunContext = RunContext()
) -> tuple[Settings, str]:
    """Return the authors' settings for a task, and a description of where those of M2IB come from.

    Published settings are used if there are any. Otherwise they come from a search on three validation images with
    masks, as the authors do, or are the defaults of their script. Models of another depth than BiomedCLIP keep their
    own settings.

    Args:
        prompt: the prompt to search with.
        searched: whether to search if the authors published no settings.
    """
    task, own = tests.task, segmenter.settings
    settings = replace(
        own,
        coarse=CoarseSettings(CoarseMethod.KMEANS),
        components=ComponentSettings(ComponentRule.AREA, number=task.objects, min_area=0.0),
        prompts=SamPromptSettings(SamPromptKind(task.sam_prompts), seed=SEED),
        presence_threshold=0.0,
        agreement=AgreementSettings(),
        affinity=AffinitySettings(),
        vote=VoteSettings(),
        min_part=0.0,
        precision=Precision.F32,
    )
    if len(segmenter.clip.model.visual.trunk.blocks) != PAPER_DEPTH:
        return settings, "the model's own"
    if task.layer is not None:
        return settings.with_saliency(layer=task.layer, beta=task.beta, **PAPER_SALIENCY), "published"
    settings = settings.with_saliency(layer=SCRIPT_LAYER, beta=SCRIPT_BETA, **PAPER_SALIENCY)
    validation = find_validation_set(tests) if searched else None
    if validation is None:
        return settings, f"the authors' script's: layer {SCRIPT_LAYER}, beta {SCRIPT_BETA:g}"
    chosen = np.random.default_rng(SEED).permutation(sorted(validation.images))[:SEARCHED_IMAGES]
    cases = [
        SearchCase(_read_image(validation.images[c]), prompt, read_mask(validation.masks[c])) for c in sorted(chosen)
    ]
    part = context.titled(f"{task.title}: search")
    best = search(segmenter.with_settings(settings), cases, SEARCHED_LAYERS, SEARCHED_BETAS, context=part)[0]
    words = f"layer {best.layer}, beta {best.beta:g} by search on {len(cases)} validation masks: not zero-shot"
    return settings.with_saliency(layer=best.layer, beta=best.beta), words


def run(
    segmenter: TextSegmenter,
    tests: TestSet,
    style: str,
    prompts: dict[str, str],
    out: Path,
    searched: bool = True,
    limit: int | None = None,
    context: RunContext = RunContext(),
) -> StyleRun:
    """Segment a test set into `out`/TASK_STYLE and score it. Existing masks are not computed again.

    Args:
        limit: segment only this many of the first cases.

    Raises:
        OutputError: the folder holds masks of other models, settings or prompts, or cannot be written.
    """
    task = tests.task
    folder = out / f"{task.folder}_{style}"
    cases = list(tests.images)[:limit]
    failed: dict[str, str] = {}
    settings, words = settings_of(segmenter, tests, prompts[cases[0]], searched, context)
    models = [segmenter.clip.name, segmenter.sam.name]
    request = {"models": models, "settings": settings.deciding(), "origin of settings": words, "prompts": prompts}
    lock = claim(folder, "run.json", request)
    segmenter = segmenter.with_settings(settings)
    try:
        for done, case in enumerate(cases):
            context.raise_if_cancelled()
            context.report(done, len(cases), f"{task.title} {style}")
            path = folder / f"{case}.png"
            if path.is_file():
                continue
            try:
                segmenter.set_image(_read_image(tests.images[case]))
                result = segmenter.segment(prompts[case])
            except InputError as error:
                failed[case] = error.problem
                continue
            mask = keep_largest_parts(result.mask, len(result.sam_prompts))
            with atomic_path(path) as temporary:
                Image.fromarray(mask.astype(np.uint8) * 255).save(temporary)
    finally:
        lock.close()
    scored = [
        _score(case, folder / f"{case}.png", tests.masks[case], failed.get(case, "no prediction")) for case in cases
    ]
    context.report(len(cases), len(cases), f"{task.title} {style}")
    return StyleRun(task, style, [score for score, _ in scored], [inflated for _, inflated in scored], words)


def _read_image(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8; raise InputError on any failure."""
    try:
        return SliceStack(read_volume(path)).image(0)
    except MedCLIPSAMError as error:
        raise InputError(error.problem, error.remedy) from error


def _score(case: str, prediction: Path, truth: Path, why: str) -> tuple[Score, float]:
    """Score a case, also by the NSD as published; scores are 0 without a prediction."""
    if not prediction.is_file():
        return Score(case, ONLY_SEGMENT, 0.0, 0.0, float("inf"), why, unit="pixels"), 0.0
    pair = read_mask(prediction), read_mask(truth)
    if pair[0].shape != pair[1].shape:
        raise InputError(f"'{prediction}' and '{truth}' differ in size.", f"Remove '{prediction}' and run again.")
    ones = (1.0, 1.0)
    own = Score(case, ONLY_SEGMENT, dsc(*pair), nsd(*pair, ones, TOLERANCE), hd95(*pair, ones), unit="pixels")
    return own, nsd_as_published(*pair, TOLERANCE)
