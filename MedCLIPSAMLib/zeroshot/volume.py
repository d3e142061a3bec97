"""Prompts on a volume, and the results on its grid: each slice on its own as in the paper, or carried from key slices.

"slices"   the full pipeline on every slice;
"memory"   key slices, carried by SAM 2's memory;
"boxes"    key slices, carried by handing a box over;
"planes"   "memory" along the three orthogonal planes, and what at least two of them say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from .. import __version__
from ..errors import Cancelled, InputError, PromptError
from ..volumes import Segment, SliceStack, Volume
from .carry import CarrySettings
from .key_slices import presence_profile
from .propagate import PropagateSettings, propagate
from .resume import ResumeFolder
from .segmenter import Result, TextSegmenter

STRATEGIES = ("slices", "memory", "boxes", "planes")
PLANES = ("axial", "coronal", "sagittal")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class VolumeResult:
    """The results of several prompts on several slices of a volume.

    Args:
        stack: the slices.
        results: prompt -> slice number -> result.
        tags: what made them: models, settings, version, date.
    """

    stack: SliceStack
    results: dict[str, dict[int, Result]]
    tags: dict[str, str]

    def segments(self) -> list[Segment]:
        """A segment a prompt, (K, J, I) bool on the source grid, empty where nothing was found."""
        made = []
        for prompt, by_slice in self.results.items():
            mask = self.stack.to_grid({number: result.mask for number, result in by_slice.items()})
            tags = {**self.tags, "MedCLIPSAM.Prompt": prompt, "MedCLIPSAM.Score": f"{self.score(prompt):.3f}"}
            made.append(Segment(prompt, mask, tags=tags))
        return made

    def saliency(self, prompt: str) -> np.ndarray:
        """The saliency of a prompt on the source grid, (K, J, I) float32, 0 on slices that were not looked at."""
        results = self.results[prompt].items()
        return self.stack.to_grid({number: each.where.saliency for number, each in results if each.where})

    def score(self, prompt: str) -> float:
        """The best score over the slices."""
        return max(result.score for result in self.results[prompt].values())


def segment_volume(
    segmenter: TextSegmenter,
    volume: Volume,
    prompts: Sequence[str],
    slices: Sequence[int] | None = None,
    plane: str = "axial",
    negative: str | None = None,
    window: object = None,
    progress: Progress = lambda fraction, message: None,
    strategy: str = "slices",
    kept: ResumeFolder | None = None,
) -> VolumeResult:
    """Segment what each prompt names on slices of a volume.

    Args:
        slices: slice numbers of `plane`; None takes the middle one, or all where the strategy is not "slices".
        strategy: one of `STRATEGIES`; those with key slices need slices that follow one another, "planes" all of them.
        window: see `volumes.SliceStack`.
        kept: where finished slices are kept and taken up again.
        progress: called with the fraction done (0 to 1) and what is being done.

    Raises:
        InputError: no such plane or slice. PromptError: no prompt, the same one twice, or one the model cannot read.
        Cancelled: when the segmenter was told to stop; nothing is returned of the part that was done.
    """
    if not prompts:
        raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
    if len(set(prompts)) < len(prompts):
        raise PromptError("The same prompt was given twice.", "Give each structure once.")
    stack = SliceStack(volume, plane, window)
    if strategy not in STRATEGIES:
        raise InputError(f"There is no strategy '{strategy}'.", f"Choose one of: {', '.join(STRATEGIES)}.")
    alone = strategy == "slices"
    numbers = list(slices) if slices is not None else [len(stack) // 2] if alone else list(range(len(stack)))
    outside = [number for number in numbers if not 0 <= number < len(stack)]
    if outside or not numbers:
        asked = f"slice {outside[0]}" if outside else "none"
        raise InputError(
            f"'{volume.name}' has {len(stack)} {stack.plane} slices and {asked} was asked for.",
            f"Slices are numbered 0 to {len(stack) - 1}.",
        )
    if not alone:
        stack, results = _carried(segmenter, stack, prompts, numbers, negative, strategy, window, progress, kept)
        return VolumeResult(
            stack, results, provenance(segmenter, plane=stack.plane, negative=negative, strategy=strategy)
        )
    found = _each_alone(segmenter, stack, list(prompts), numbers, negative, progress, kept)
    results = {prompt: {number: found[number][prompt] for number in numbers} for prompt in prompts}
    progress(1.0, "done")
    return VolumeResult(stack, results, provenance(segmenter, plane=stack.plane, negative=negative))


def _each_alone(segmenter, stack, prompts, numbers, negative, progress, kept) -> dict[int, dict[str, Result]]:
    """The results of the full pipeline on slices by prompt, several slices at once where that is faster."""
    found = {number: kept.take_results(f"slice-{number}") if kept else None for number in numbers}
    left = [number for number in found if found[number] is None]
    at_once = segmenter.together_at_best
    for start in range(0, len(left), at_once):
        some = left[start : start + at_once]
        segmenter.set_images([stack.picture(number) for number in some])
        fresh: list[dict[str, Result]] = [{} for _ in some]
        for index, group in enumerate([prompts] if at_once > 1 else [[prompt] for prompt in prompts]):
            if segmenter.cancelled and segmenter.cancelled():
                raise Cancelled
            slices = f"slice {some[0]}" if len(some) == 1 else f"slices {some[0]} to {some[-1]}"
            done = len(numbers) - len(left) + start + index / len(prompts)
            progress(done / len(numbers), f"{slices}: {', '.join(group)}")
            for results, more in zip(fresh, segmenter.segment_each(group, negative)):
                results |= more
        for number, results in zip(some, fresh):
            found[number] = results
            if kept:
                kept.keep_results(f"slice-{number}", results)
    return found


def _carried(segmenter, stack, prompts, numbers, negative, strategy, window, progress, kept):
    """The stack and its results by the strategies with key slices; see `segment_volume`."""
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise InputError(
            "The slices do not follow one another.", "Give a range of slices, or use the strategy 'slices'."
        )
    if strategy != "planes":
        return stack, _along(segmenter, stack, prompts, numbers, negative, strategy, progress, kept)
    if stack.volume.natural or len(numbers) < len(stack):
        raise InputError("Three planes need a whole volume.", "Use the strategy 'memory'.")
    by_plane = []
    for number, plane in enumerate(PLANES):
        other = stack if plane == stack.plane else SliceStack(stack.volume, plane, window)
        tell = lambda fraction, message, number=number: progress((number + fraction) / len(PLANES), message)
        part = kept.part(plane) if kept else None
        every = list(range(len(other)))
        by_plane.append((other, _along(segmenter, other, prompts, every, negative, "memory", tell, part)))
    results = dict(next(found for other, found in by_plane if other is stack))
    for prompt in prompts:
        votes = sum(
            other.to_grid({k: each.mask for k, each in found[prompt].items()}).astype(np.uint8)
            for other, found in by_plane
        )
        best = max((each for _, found in by_plane for each in found[prompt].values()), key=lambda each: each.score)
        both = votes >= 2
        shown = {k: mask for k in numbers if (mask := stack.from_grid(both, k)).any()}
        message = f"Found '{prompt}' in at least two of three planes (score {best.score:.2f} at best)."
        nothing = Result(
            prompt, np.zeros(stack.picture_shape, bool), 0.0, f"Nothing found for '{prompt}' in two planes."
        )
        results[prompt] = {k: Result(prompt, mask, best.score, message) for k, mask in shown.items()} or {
            numbers[len(numbers) // 2]: nothing
        }
    return stack, results


def _along(segmenter, stack, prompts, numbers, negative, method, progress, kept) -> dict[str, dict[int, Result]]:
    """Key slices of each prompt among `numbers`, which follow one another, and their masks carried to the others."""
    first, count = numbers[0], len(numbers)
    picture = lambda k: stack.picture(first + k)
    settings = PropagateSettings(CarrySettings(method), first=first)
    progress(0.0, "looking for key slices")
    done = kept.take("profiles") if kept else None
    profiles = done["profiles"] if done else presence_profile(segmenter, picture, count, list(prompts), negative)
    if kept and not done:
        kept.keep("profiles", {"profiles": profiles})
    results = {}
    for index, (prompt, profile) in enumerate(zip(prompts, profiles)):
        tell = lambda fraction, message, index=index: progress((index + fraction) / len(prompts), message)
        part = kept.part(f"prompt-{index}") if kept else None
        found = propagate(segmenter, count, picture, prompt, profile, negative, settings, tell, part)
        results[prompt] = {first + k: found[k] for k in sorted(found)}
    progress(1.0, "done")
    return results


def provenance(segmenter: TextSegmenter, **more: object) -> dict[str, str]:
    """What is needed to make a result again, as tags of a segment."""
    made = {
        "Version": __version__,
        "Model": segmenter.clip.name,
        "SAM": segmenter.sam.name,
        "Date": datetime.now(UTC).isoformat(timespec="seconds"),
        "Settings": str(segmenter.settings.deciding()),
        **more,
    }
    return {f"MedCLIPSAM.{key.title()}": str(value) for key, value in made.items() if value is not None}
