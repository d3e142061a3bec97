"""The results of a run over a volume, one by one or together on its grid."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from .. import __version__
from ..choices import Strategy
from ..errors import InputError
from ..segmentation.result import PromptedResult, Result, SliceResult
from ..segmentation.segmenter import TextSegmenter
from ..volumes import Segment, SliceStack
from .request import ResolvedRequest
from .unlike import UNLIKE


@dataclass(frozen=True, eq=False)
class VolumeResult:
    """The results of several prompts on several slices of a volume.

    Args:
        stack: the slices.
        request: the slices and strategy of the run.
        results: prompt -> slice number -> result, slices in ascending order.
        tags: provenance: models, settings, version, date.
        notes: sentences for the user on the whole run.
    """

    stack: SliceStack
    request: ResolvedRequest
    results: dict[str, dict[int, Result]]
    tags: dict[str, str]
    notes: tuple[str, ...] = ()

    def segments(self) -> list[Segment]:
        """Return a segment for each prompt, (K, J, I) bool on the source grid, empty if nothing was found."""
        segments = []
        for prompt, by_slice in self.results.items():
            mask = self.stack.to_grid({number: result.mask for number, result in by_slice.items()})
            tags = {**self.tags, "MedCLIPSAM.Prompt": prompt, "MedCLIPSAM.Score": f"{self.score(prompt):.3f}"}
            segments.append(Segment(prompt, mask, tags=tags))
        return segments

    def saliency(self, prompt: str) -> np.ndarray:
        """Return the saliency of a prompt on the source grid, (K, J, I) float32, 0 on slices without a map."""
        results = self.results[prompt].items()
        return self.stack.to_grid(
            {k: result.where.saliency for k, result in results if isinstance(result, PromptedResult)}
        )

    def uncertainty(self, prompt: str) -> np.ndarray | None:
        """Return the uncertainty of a prompt on the source grid, (K, J, I) float32, 0 on slices without a vote.

        None if there was no vote on any slice; see `segmentation.result.PromptedResult`.
        """
        results = self.results[prompt].items()
        maps = {k: result.uncertainty for k, result in results if isinstance(result, PromptedResult)}
        voted = {k: values for k, values in maps.items() if values is not None}
        return self.stack.to_grid(voted) if voted else None

    def score(self, prompt: str) -> float:
        """Return the best score of a prompt over the slices."""
        return max(result.score for result in self.results[prompt].values())


class VolumeRun(Iterator[SliceResult]):
    """The results of `pipeline.segment_volume`, computed during iteration.

    Attributes:
        stack: the slices of the volume.
        request: slices and strategy, with defaults resolved.
    """

    def __init__(
        self, segmenter: TextSegmenter, stack: SliceStack, request: ResolvedRequest, results: Iterator[SliceResult]
    ) -> None:
        self._segmenter, self._results = segmenter, results
        self.stack, self.request = stack, request
        self._begun = False

    def __next__(self) -> SliceResult:
        self._begun = True
        return next(self._results)

    def collect(self) -> VolumeResult:
        """Collect all results.

        Raises:
            InputError: iteration has begun already; the results taken so far would be missing from the masks.
        """
        if self._begun:
            raise InputError("Results of this run were taken already.", "Call segment_volume again, and collect first.")
        results: dict[str, dict[int, Result]] = {prompt: {} for prompt in self.request.prompts}
        for found in self:
            results[found.result.prompt][found.number] = found.result
        results = {prompt: dict(sorted(by_slice.items())) for prompt, by_slice in results.items()}
        tags = provenance(self._segmenter, self.request, self.stack.plane)
        looked: dict[int, float | None] = {}
        for by_slice in results.values():
            looked |= collect_ood_scores(by_slice)
        return VolumeResult(self.stack, self.request, results, tags, notes_on(self._segmenter, looked))


def collect_ood_scores(results: Mapping[int, Result]) -> dict[int, float | None]:
    """Return the out-of-distribution scores of the slices that the text-image model encoded; see `Localization`."""
    return {k: result.where.ood_score for k, result in results.items() if isinstance(result, PromptedResult)}


def notes_on(segmenter: TextSegmenter, scores: Mapping[int, float | None]) -> tuple[str, ...]:
    """Return sentences for the user on the whole run.

    There is a note if more than half of the encoded slices are unlike the training images of the text-image model.
    """
    known = segmenter.clip.feature_statistics
    unseen = sum(1 for value in scores.values() if value is not None and value > 1)
    if known is None or 2 * unseen <= len(scores):
        return ()
    what = "This image looks" if len(scores) == 1 else f"{unseen} of {len(scores)} segmented slices are"
    kinds = ", ".join(dict.fromkeys(known.kinds))
    return (f"{what} {UNLIKE} '{segmenter.clip.name}' has seen ({kinds}): check the mask with care.",)


def provenance(segmenter: TextSegmenter, request: ResolvedRequest, plane: str | None = None) -> dict[str, str]:
    """Return what is needed to reproduce a result, as segment tags."""
    values = {
        "Version": __version__,
        "Model": segmenter.clip.name,
        "Sam": segmenter.sam.name,
        "Date": datetime.now(UTC).isoformat(timespec="seconds"),
        "Settings": json.dumps(segmenter.settings.deciding()),
        "Plane": plane,
        "Negative": request.negative,
        "Strategy": None if request.strategy == Strategy.SLICES else request.strategy,
    }
    return {f"MedCLIPSAM.{key}": str(value) for key, value in values.items() if value is not None}
