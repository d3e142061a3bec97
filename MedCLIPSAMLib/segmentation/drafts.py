"""The results of several prompts on several images, from the saliency maps to the answer that is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..models.threads import on_threads
from .answer import draft_result, finish_result
from .mask_prediction import MaskPrediction
from .result import Localization, PromptedResult
from .settings import Settings
from .wording import absence_message, says_absent


def draft_each(
    images: Sequence[np.ndarray], where: Sequence[dict[str, list[Localization]]], settings: Settings
) -> list[dict[str, list[PromptedResult]]]:
    """Draft the results of each image, by prompt and candidate step, up to SAM 2; several images on threads."""
    draft = lambda image, seen: {
        prompt: [draft_result(image, prompt, localization, settings) for localization in maps]
        for prompt, maps in seen.items()
    }
    return on_threads(draft, images, where)


class Drafts:
    """Results that wait for SAM 2's masks, by image, prompt and candidate step.

    Args:
        images: uint8 (H, W, 3) each.
        where: what `TextSegmenter.locate` gives for them.

    Attributes:
        waiting: the drafts that need a mask.
        numbers: the image of each of them.
    """

    def __init__(
        self, images: Sequence[np.ndarray], where: Sequence[dict[str, list[Localization]]], settings: Settings
    ) -> None:
        self._settings = settings
        self._results = draft_each(images, where, settings)
        for of_image in self._results:
            for prompt in filter(says_absent, of_image):
                of_image[prompt] = [replace(draft, message=absence_message(prompt)) for draft in of_image[prompt]]
        self._places = [
            (at, prompt, step)
            for at, of_image in enumerate(self._results)
            for prompt, steps in of_image.items()
            for step, draft in enumerate(steps)
            if not draft.message
        ]
        self.waiting = [self._results[at][prompt][step] for at, prompt, step in self._places]
        self.numbers = [at for at, _, _ in self._places]

    def finish(self, masks: Iterable[MaskPrediction]) -> None:
        """Finish the drafts in `waiting` with a mask for each."""
        for (at, prompt, step), draft, found in zip(self._places, self.waiting, masks):
            self._results[at][prompt][step] = finish_result(
                draft, found.mask, found.quality, self._settings, found.uncertainty
            )

    def choose(
        self,
        choose: Callable[[list[PromptedResult]], PromptedResult],
        notes: Mapping[str, Sequence[str]],
        saliency_seconds: float,
        seconds: Mapping[str, float],
    ) -> list[dict[str, PromptedResult]]:
        """Choose the result of each prompt on each image among its candidate steps.

        Args:
            choose: takes the results of all steps of a prompt on an image.
            notes: by prompt, added to those of the result.
            saliency_seconds: for each result.
            seconds: by stage, for each draft with a mask.
        """
        counts = Counter((at, prompt) for at, prompt, _ in self._places)

        def complete(at: int, prompt: str, steps: list[PromptedResult]) -> PromptedResult:
            result, outlined = choose(steps), counts[at, prompt]
            spent = {stage: elapsed * outlined for stage, elapsed in seconds.items() if outlined}
            return replace(
                result, notes=(*result.notes, *notes[prompt]), seconds={"saliency": saliency_seconds} | spent
            )

        return [
            {prompt: complete(at, prompt, steps) for prompt, steps in of_image.items()}
            for at, of_image in enumerate(self._results)
        ]
