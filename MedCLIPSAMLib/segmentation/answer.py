"""The steps before and after SAM 2: from a saliency map to SAM prompts, and from SAM 2's masks to the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from ..choices import VoteMethod
from ..models.threads import run_on_threads
from .agreement import compute_agreement
from .coarse import LEVELS, make_coarse_mask
from .components import components, label_map_components
from .mask_prediction import MaskPrediction
from .presence import Presence
from .result import Localization, PromptedResult
from .sam_prompts import make_sam_prompts
from .settings import Settings
from .wording import explain_absence, says_absent


def draft_results(
    images: Sequence[np.ndarray], where: Sequence[dict[str, list[Localization]]], settings: Settings
) -> list[tuple[int, PromptedResult]]:
    """Draft the results of all images, prompts and candidate steps, in this order, each with its image number.

    Args:
        images: uint8 (H, W, 3) each; several images are processed on threads.
        where: what `TextSegmenter.locate` returns for them.
    """

    def draft(at: int, image: np.ndarray, seen: dict[str, list[Localization]]) -> list[tuple[int, PromptedResult]]:
        return [(at, draft_result(image, prompt, step, settings)) for prompt, steps in seen.items() for step in steps]

    return list(chain.from_iterable(run_on_threads(draft, range(len(images)), images, where)))


def draft_result(image: np.ndarray, prompt: str, where: Localization, settings: Settings) -> PromptedResult:
    """Make the result up to SAM 2.

    If nothing was found it is final and has a message; otherwise `finish_result` completes it.

    Args:
        image: uint8 (H, W, 3).
    """
    if settings.coarse.method in LEVELS:
        labels = label_map_components(where.map, settings.coarse, settings.components)
    else:
        coarse = make_coarse_mask(where.saliency, settings.coarse, image)
        labels = components(coarse, where.saliency, settings.components)
    coarse_components = labels > 0
    nothing = _why_nothing(prompt, where.presence, coarse_components, settings.presence_threshold)
    empty, sam_prompts = np.zeros(image.shape[:2], bool), make_sam_prompts(labels, settings.prompts)
    sure = None if settings.vote.method == VoteMethod.NONE else np.zeros(empty.shape, np.float32)
    quality = np.zeros(0, np.float32)
    return PromptedResult(prompt, empty, 0.0, nothing, where, coarse_components, sam_prompts, quality, uncertainty=sure)


def finish_result(draft: PromptedResult, found: MaskPrediction, settings: Settings) -> PromptedResult:
    """Complete a draft with SAM 2's masks."""
    prompt, present = draft.prompt, draft.where.presence.probability
    mask, quality, uncertainty = found
    agreement, limits = compute_agreement(mask, draft.coarse), settings.agreement
    draft = replace(draft, mask=mask, predicted_iou=quality, agreement=agreement, uncertainty=uncertainty)
    doubtful = 0 < settings.presence_threshold and present < limits.certain
    if mask.any() and doubtful and agreement < limits.min_iou_in_doubt:
        message = (
            f"Nothing found for '{prompt}': presence {present:.2f}, below {limits.certain:.2f}, and SAM 2 sees another "
            f"object than the saliency map shows (IoU {agreement:.2f}, below {limits.min_iou_in_doubt:.2f})."
        )
        return draft.as_nothing(message)
    if mask.any() and agreement < limits.min_iou:
        score = present * agreement
        message = (
            f"Found '{prompt}': score {score:.2f}. SAM 2's outline disagrees with the saliency (IoU {agreement:.2f}, "
            f"below {limits.min_iou:.2f}), so this is the coarse mask from the saliency map."
        )
        return replace(draft, mask=draft.coarse, score=score, message=message)
    if mask.any():
        score = present * float(quality.mean())
        message = (
            f"Found '{prompt}': score {score:.2f} "
            f"(presence {present:.2f} x predicted mask quality {quality.mean():.2f})."
        )
        return replace(draft, score=score, message=message)
    if settings.presence_threshold > 0:
        return draft.as_nothing(f"Nothing found for '{prompt}': SAM 2 sees no object in the salient region.")
    message = f"SAM 2 sees no object for '{prompt}': this is the coarse mask from the saliency map."
    return replace(draft, mask=draft.coarse, message=message)


def format_apart(value: float, other: float) -> tuple[str, str]:
    """Format two numbers with two decimals, or as many as are needed to tell them apart, up to seven."""
    digits = next((n for n in range(2, 7) if f"{value:.{n}f}" != f"{other:.{n}f}"), 7)
    return f"{value:.{digits}f}", f"{other:.{digits}f}"


def _why_nothing(prompt: str, present: Presence, coarse_components: np.ndarray, threshold: float) -> str:
    """Return the sentence that says why nothing was found; empty if something was found."""
    if says_absent(prompt):
        return explain_absence(prompt)
    if present.probability < threshold:
        if not present.meaningful:
            why = f"it describes the image no better than unrelated texts do (presence {present.probability:.2f})"
        else:
            value, limit = format_apart(present.probability, threshold)
            why = f"presence {value}, below the limit of {limit}"
            if present.absent > present.probability:
                why += f'; "{present.denial}" fits better'
        return f"Nothing found for '{prompt}': {why}."
    if not coarse_components.any():
        return f"Nothing found for '{prompt}': the saliency map has no region that stands out."
    return ""
