"""Prompts on the slices of a volume, each slice on its own as in the paper, and the results on the volume's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

from .. import __version__
from ..errors import Cancelled, InputError, PromptError
from ..volumes import Segment, SliceStack, Volume
from .segmenter import Result, TextSegmenter

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
        return self.stack.to_grid({number: result.where.saliency for number, result in self.results[prompt].items()})

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
) -> VolumeResult:
    """Segment what each prompt names on slices of a volume.

    Args:
        slices: slice numbers of `plane`; None takes the middle one.
        window: see `volumes.SliceStack`.
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
    numbers = [len(stack) // 2] if slices is None else list(slices)
    outside = [number for number in numbers if not 0 <= number < len(stack)]
    if outside or not numbers:
        asked = f"slice {outside[0]}" if outside else "none"
        raise InputError(
            f"'{volume.name}' has {len(stack)} {stack.plane} slices and {asked} was asked for.",
            f"Slices are numbered 0 to {len(stack) - 1}.",
        )
    results: dict[str, dict[int, Result]] = {prompt: {} for prompt in prompts}
    for done, number in enumerate(numbers):
        if segmenter.cancelled and segmenter.cancelled():
            raise Cancelled
        segmenter.set_image(stack.picture(number))
        for index, prompt in enumerate(prompts):
            progress((done + index / len(prompts)) / len(numbers), f"slice {number}: {prompt}")
            results[prompt][number] = segmenter.segment(prompt, negative)
    progress(1.0, "done")
    return VolumeResult(stack, results, provenance(segmenter, plane=stack.plane, negative=negative))


def provenance(segmenter: TextSegmenter, **more: object) -> dict[str, str]:
    """What is needed to make a result again, as tags of a segment."""
    made = {
        "Version": __version__,
        "Model": segmenter.clip.name,
        "SAM": segmenter.sam.name,
        "Date": datetime.now(UTC).isoformat(timespec="seconds"),
        "Settings": str(asdict(segmenter.settings)),
        **more,
    }
    return {f"MedCLIPSAM.{key.title()}": str(value) for key, value in made.items() if value is not None}
