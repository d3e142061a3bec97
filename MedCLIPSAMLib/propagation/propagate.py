"""Segment one prompt in a whole stack: segment the slices that show it best and propagate their masks to the others.

1. Compute the presence of the prompt on all slices (`key_slices`). This is cheap, as only the text-image model runs.
2. Run the full pipeline on the best few slices. The one with the highest score times contrast becomes the key slice.
3. Propagate each connected part of its mask as a separate object in both directions (`propagate_masks`), until the
   object ends or the prompt is no longer present. Past the end of an object SAM 2 would continue on a neighboring
   structure; the text-image model tells these apart better.
4. Choose another key slice where the prompt is present and no mask has arrived, up to a maximum number.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field
from scipy.ndimage import binary_dilation
from skimage.measure import label

from ..run_context import RunContext
from ..segmentation.result import PromptedResult, PropagatedResult, Result
from ..segmentation.result_arrays import load_results, store_results
from ..segmentation.sam_prompts import SamPrompts
from ..segmentation.segmenter import TextSegmenter
from ..validated import Share, settings_class
from .key_slices import candidates
from .propagate_masks import MaskPropagationSettings, SliceImage, propagate_masks


@settings_class
class PropagateSettings:
    """Settings for segmenting a stack from key slices.

    Args:
        masks: how masks are propagated.
        keys: maximum number of key slices per prompt.
        looks: number of slices on which the full pipeline runs to find a key slice.
        min_part: parts of a key slice's mask below this share of the largest part are not separate objects.
        fading: share of the presence threshold below which the prompt no longer counts as present on a slice.
        beyond: number of slices to propagate past the last one on which the prompt is present.
        first: number of the first slice of the stack within the volume, for messages.
    """

    masks: MaskPropagationSettings = MaskPropagationSettings()
    keys: Annotated[int, Field(ge=1)] = 4
    looks: Annotated[int, Field(ge=1)] = 3
    min_part: Share = 0.2
    fading: Annotated[float, Field(ge=0)] = 0.2
    beyond: Annotated[int, Field(ge=0)] = 2
    first: Annotated[int, Field(ge=0)] = 0


def propagate(
    segmenter: TextSegmenter,
    count: int,
    image: SliceImage,
    prompt: str,
    profile: np.ndarray,
    negative: str | None = None,
    settings: PropagateSettings = PropagateSettings(),
    context: RunContext = RunContext(),
) -> dict[int, Result]:
    """Segment a prompt on key slices of a stack and propagate the masks to the other slices.

    Args:
        count: number of slices in the stack.
        image: slice number -> uint8 (H, W, 3).
        profile: (K,) presence of the prompt on every slice, see `key_slices.compute_presence_profile`.
        context: its checkpoints hold the finished slices.

    Raises:
        PromptError: see `TextSegmenter.saliency`. Cancelled.
    """
    results: dict[int, Result] = {}
    unfollowed: list[int] = []
    look = lambda numbers: _segment_slices(segmenter, image, numbers, prompt, negative, context)
    taken = np.zeros(count, bool)
    threshold = segmenter.settings.presence_threshold
    for _ in range(settings.keys):
        near = binary_dilation(taken)
        picks = candidates(profile, threshold, near, settings.looks)
        looked: dict[int, PromptedResult] = {}
        for start in range(0, len(picks), segmenter.batch_size):
            batch = picks[start : start + segmenter.batch_size]
            named = ", ".join(str(settings.first + k) for k in batch)
            context.report(taken.mean(), message=f"slice {named}: {prompt}", stage="propagation")
            looked |= look(batch)
        found = {k: result for k, result in looked.items() if result.found}
        taken[[k for k in picks if k not in found]] = True
        if not found:
            break
        key = max(found, key=lambda k: found[k].score * _contrast(found[k]))
        results[key] = found[key]
        taken[key] = True
        objects = {str(index): {key: part} for index, part in enumerate(_parts(found[key].mask, settings.min_part))}
        limits = _limits(profile, key, settings.fading * threshold, settings.beyond)
        part = context.checkpoint_part(f"from-{key}")
        followed = False
        for k, masks in propagate_masks(segmenter, count, image, objects, settings.masks, limits=limits, context=part):
            context.report(taken.mean(), message=f"slice {settings.first + k}: {prompt}", stage="propagation")
            mask = np.any(list(masks.values()), axis=0)
            taken[k] = followed = True
            source, score, notes = settings.first + key, found[key].score, found[key].notes
            message = f"Found '{prompt}': propagated from slice {source} (score {score:.2f} there)."
            reached = PropagatedResult(prompt, mask, score, message, source, notes=notes)
            results[k] = _joined(results[k], reached) if k in results else reached
        unfollowed += [] if followed else [key]
    if not results:
        k = candidates(profile, -1.0, np.zeros(count, bool), 1)[0]
        alone = look([k])[k]
        if alone.found:
            where = f"it is present on slice {settings.first + k} only and not on the neighboring slices"
            alone = alone.as_nothing(f"Nothing found for '{prompt}': {where}.")
            alone = replace(alone, seconds={}, sam_prompts=SamPrompts(), predicted_iou=np.zeros(0, np.float32))
        results[k] = alone
    if unfollowed and count > 1:
        note = _describe_unfollowed([settings.first + k for k in sorted(unfollowed)], settings.masks.growth)
        results = {k: replace(result, notes=(*result.notes, note)) for k, result in results.items()}
    return results


def _joined(before: Result, reached: PropagatedResult) -> Result:
    """Join the masks of a slice that is reached again; a key slice stays one, otherwise the better score is kept."""
    mask = before.mask | reached.mask
    if isinstance(before, PromptedResult):
        return replace(before, mask=mask, expected_dsc=None)
    return replace(before if before.score >= reached.score else reached, mask=mask)


def _describe_unfollowed(numbers: list[int], growth: float) -> str:
    """Describe on which key slices an object was found but not followed to any other slice."""
    where = (
        f"slice {numbers[0]}"
        if len(numbers) == 1
        else f"{len(numbers)} separate slices ({', '.join(map(str, numbers))})"
    )
    return (
        f"On {where} the object was not followed to the next slices: its mask there was empty or more than {growth:g} "
        "times as large, or the prompt was not present."
    )


def _limits(profile: np.ndarray, key: int, min_presence: float, beyond: int) -> tuple[int, int]:
    """Find the lowest and highest slice to propagate to from `key`.

    They bound the run of slices around `key` that lie within `beyond` slices of one with at least `min_presence`. Gaps
    of up to twice `beyond` slices do not end an object.
    """
    near = binary_dilation(profile >= min_presence, iterations=beyond) if beyond else profile >= min_presence
    near[key] = True
    runs = label(near.astype(int)[None])[0]
    inside = np.flatnonzero(runs == runs[key])
    return int(inside[0]), int(inside[-1])


def _segment_slices(
    segmenter: TextSegmenter,
    image: SliceImage,
    numbers: list[int],
    prompt: str,
    negative: str | None,
    context: RunContext,
) -> dict[int, PromptedResult]:
    """Run the full pipeline on some slices together, or read the results from the checkpoints."""
    stored = {k: load_results(context.checkpoints, f"key-{k}") for k in numbers}
    found = {k: results[prompt] for k, results in stored.items() if results}
    left = [k for k in numbers if k not in found]
    if left:
        segmenter.set_images([image(k) for k in left])
        fresh = segmenter.segment_each([prompt], negative, context.without_progress())
        found |= {k: results[prompt] for k, results in zip(left, fresh)}
    for k in left:
        store_results(context.checkpoints, f"key-{k}", {prompt: found[k]})
    return {k: found[k] for k in numbers}


def _contrast(result: PromptedResult) -> float:
    """Compute how much more salient the mask is than the rest of the image, 0 to 1."""
    saliency, mask = result.where.saliency, result.mask
    return float(max(0.0, saliency[mask].mean() - (saliency[~mask].mean() if not mask.all() else 0.0)))


def _parts(mask: np.ndarray, min_share: float) -> list[np.ndarray]:
    """Split a mask into connected parts, one per object; small parts stay with the largest."""
    labels = label(mask, connectivity=2)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(1, min_share * areas.max()))
    small = ~np.isin(labels, large) & mask
    return [(labels == number) | (small if number == areas.argmax() else False) for number in large]
