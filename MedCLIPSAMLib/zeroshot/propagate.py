"""One prompt, a whole stack: the slices that show it best are segmented, and their masks carried to the others.

1. Presence of the prompt on all slices, coarse to fine (`key_slices`): cheap, the text-image model only.
2. The full pipeline on the best few; of these the key slice is the one with the highest score times contrast.
3. Each part of its mask is an object of its own, carried in both directions until it ends (`carry`), or the prompt is
   no longer present: past an object's end SAM 2 goes on to its neighbour, which the text-image model knows better.
4. Where the prompt is present and nothing has arrived, there is another key slice, up to a number of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation
from skimage.measure import label

from ..errors import InputError
from .carry import CarrySettings, Picture, carry
from .key_slices import candidates
from .resume import ResumeFolder
from .segmenter import Result, TextSegmenter

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class PropagateSettings:
    """How a stack is segmented from key slices.

    Args:
        carry: how masks are carried.
        keys: most key slices for a prompt.
        looks: slices on which the full pipeline is tried for a key.
        least_part: parts of a key slice's mask below this share of the largest are not carried on their own.
        fading: share of the presence threshold below which the prompt counts as no longer present on a slice.
        beyond: slices that masks are carried to past the last one on which the prompt is present.
        first: number in the volume of the first slice of the stack, for messages.
    """

    carry: CarrySettings = CarrySettings()
    keys: int = 4
    looks: int = 3
    least_part: float = 0.2
    fading: float = 0.2
    beyond: int = 2
    first: int = 0

    def __post_init__(self) -> None:
        if self.keys < 1 or self.looks < 1 or not 0 <= self.least_part <= 1:
            raise InputError(
                f"Propagation: {self.keys} keys, {self.looks} looks, least part {self.least_part} came.",
                "Keys and looks are at least 1, the least part lies between 0 and 1.",
            )


def propagate(
    segmenter: TextSegmenter,
    count: int,
    picture: Picture,
    prompt: str,
    profile: np.ndarray,
    negative: str | None = None,
    settings: PropagateSettings = PropagateSettings(),
    progress: Progress = lambda fraction, message: None,
    kept: ResumeFolder | None = None,
) -> dict[int, Result]:
    """The slices on which a prompt was found, from key slices on; where nothing was found, the slice looked at.

    Args:
        count: slices of the stack.
        picture: slice number -> uint8 (H, W, 3).
        profile: (K,) presence of the prompt on every slice, see `key_slices.presence_profile`.
        kept: where finished slices are kept and taken up again.

    Raises:
        PromptError: see `TextSegmenter.saliency`. Cancelled.
    """
    results: dict[int, Result] = {}
    taken = np.zeros(count, bool)
    threshold = segmenter.settings.presence_threshold
    for _ in range(settings.keys):
        near = binary_dilation(taken)
        picks = candidates(profile, threshold, near, settings.looks)
        looked = {}
        for start in range(0, len(picks), segmenter.together_at_best):
            some = picks[start : start + segmenter.together_at_best]
            progress(taken.mean(), f"slice {', '.join(str(settings.first + k) for k in some)}: {prompt}")
            looked |= _looked_at(segmenter, picture, some, prompt, negative, kept)
        found = {k: each for k, each in looked.items() if each.found}
        taken[[k for k in picks if k not in found]] = True
        if not found:
            break
        key = max(found, key=lambda k: found[k].score * _contrast(found[k]))
        results[key] = found[key]
        taken[key] = True
        objects = {str(index): {key: part} for index, part in enumerate(_parts(found[key].mask, settings.least_part))}
        limits = _limits(profile, key, settings.fading * threshold, settings.beyond)
        part = kept.part(f"from-{key}") if kept else None
        carried = carry(segmenter, count, picture, objects, settings.carry, limits=limits, kept=part)
        for k, masks in carried:
            progress(taken.mean(), f"slice {settings.first + k}: {prompt}")
            mask = np.any(list(masks.values()), axis=0)
            if k in results:
                mask = mask | results[k].mask
            where = f"carried from slice {settings.first + key} (score {found[key].score:.2f} there)"
            message = f"Found '{prompt}': {where}."
            results[k] = Result(prompt, mask, found[key].score, message)
            taken[k] = True
    if not results:
        k = candidates(profile, -1.0, np.zeros(count, bool), 1)[0]
        alone = _looked_at(segmenter, picture, [k], prompt, negative, kept)[k]
        if alone.found:
            where = f"it is present on slice {settings.first + k} alone and not on the slices beside it"
            message = f"Nothing found for '{prompt}': {where}."
            alone = Result(prompt, np.zeros_like(alone.mask), 0.0, message, alone.where, alone.coarse)
        results[k] = alone
    return results


def _limits(profile: np.ndarray, key: int, least: float, beyond: int) -> tuple[int, int]:
    """The lowest and the highest slice around `key` that lie not more than `beyond` from one of at least that presence.

    Gaps of up to twice as many slices do not end an object.
    """
    near = binary_dilation(profile >= least, iterations=beyond) if beyond else profile >= least
    near[key] = True
    runs = label(near.astype(int)[None])[0]
    inside = np.flatnonzero(runs == runs[key])
    return int(inside[0]), int(inside[-1])


def _looked_at(segmenter, picture, slices: list[int], prompt, negative, kept) -> dict[int, Result]:
    """The full pipeline on some slices at once, or what is kept of it."""
    done = {k: kept.take_results(f"key-{k}") if kept else None for k in slices}
    found = {k: each[prompt] for k, each in done.items() if each}
    left = [k for k in slices if k not in found]
    if left:
        segmenter.set_images([picture(k) for k in left])
        found |= {k: each[prompt] for k, each in zip(left, segmenter.segment_each([prompt], negative))}
    for k in left if kept else ():
        kept.keep_results(f"key-{k}", {prompt: found[k]})
    return {k: found[k] for k in slices}


def _contrast(result: Result) -> float:
    """How much more salient the mask is than the rest of the picture, 0 to 1."""
    saliency, mask = result.where.saliency, result.mask
    return float(max(0.0, saliency[mask].mean() - (saliency[~mask].mean() if not mask.all() else 0.0)))


def _parts(mask: np.ndarray, least: float) -> list[np.ndarray]:
    """The connected parts of a mask of which each becomes an object; small ones stay with the largest."""
    labels = label(mask, connectivity=2)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(1, least * areas.max()))
    small = ~np.isin(labels, large) & mask
    return [(labels == number) | (small if number == areas.argmax() else False) for number in large]
