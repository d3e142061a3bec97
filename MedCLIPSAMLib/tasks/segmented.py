"""The segments of one image on its grid, and the results behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from ..pipeline.volume_result import VolumeResult
from ..segmentation.report import LeftOut
from ..segmentation.result import PromptedResult, PropagatedResult, Result
from ..volumes import Segment, SliceStack, Volume
from ..volumes.statistics import SegmentStatistics, measure
from ..volumes.terminology import distinct_colors
from .marks import Region
from .places import Places

MIN_IOU = 0.9
"""Minimum IoU of two masks that are reported as the same."""


@dataclass(frozen=True)
class Segmented:
    """The segments of one image.

    Attributes:
        name: name of the image.
        volume: the image.
        stack: slices of the image.
        segments: label -> segment, on the grid of the image.
        results: label -> slice number -> result, with masks and boxes on the grid of the segmented region.
        slice_count: number of segmented slices.
        tags: provenance of the segments.
        places: paths of the output files.
        region: the part of the image that was segmented; None for all of it.
        notes: sentences for the user about the image and its results.
        left_out: findings of a report that the model cannot process.
    """

    name: str
    volume: Volume
    stack: SliceStack
    segments: dict[str, Segment]
    results: dict[str, dict[int, Result]]
    slice_count: int
    tags: dict[str, str]
    places: Places
    region: Region | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def from_result(
        cls,
        name: str,
        volume: Volume,
        stack: SliceStack,
        found: VolumeResult,
        labels: dict[str, str],
        places: Places,
        region: Region | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> Segmented:
        """Make segments from the results of the pipeline on an image or a region of it.

        Args:
            labels: label -> prompt.
            tags: additional provenance.
        """
        by_prompt = dict(zip(found.results, found.segments()))
        segments = {}
        for (label, prompt), color in zip(labels.items(), distinct_colors(list(labels.values()))):
            segment = by_prompt[prompt]
            mask = segment.mask if region is None else region.paste(segment.mask, volume)
            segments[label] = replace(segment, name=label, mask=mask, color=color, tags={**segment.tags, **tags})
        results = {label: found.results[prompt] for label, prompt in labels.items()}
        for label, note in _note_same_masks(segments).items():
            by_slice = results[label].items()
            results[label] = {k: replace(one, notes=(*one.notes, note)) if one.found else one for k, one in by_slice}
            segments[label] = replace(segments[label], tags={**segments[label].tags, "MedCLIPSAM.Notes": note})
        notes = (*volume.notes, *found.notes)
        slice_count = len(found.request.slices)
        return cls(name, volume, stack, segments, results, slice_count, {**found.tags, **tags}, places, region, notes)

    @property
    def best_slice(self) -> int:
        """Number of the slice with the highest sum of scores; key slices are preferred to propagated ones."""
        totals: dict[int, float] = {}
        for by_slice in self.results.values():
            for number, result in by_slice.items():
                weight = 0.99 if isinstance(result, PropagatedResult) else 1.0
                totals[number] = totals.get(number, 0.0) + weight * result.score
        return max(totals, key=lambda k: totals[k])

    @property
    def statistics(self) -> list[SegmentStatistics]:
        """Sizes of the segments."""
        return [measure(segment, self.volume, self.stack.source_axis) for segment in self.segments.values()]

    def score(self, label: str) -> float:
        """Return the best score of a label over the slices."""
        return max(result.score for result in self.results[label].values())

    def lines(self) -> Iterator[str]:
        """Yield a line for each label: the result on its best slice, and on how many slices it was found."""
        for label, by_slice in self.results.items():
            best = max(by_slice, key=lambda number: by_slice[number].score)
            last = len(self.stack) - 1
            name = f"{label}: " if label != by_slice[best].prompt else ""
            where = f"{self.stack.plane} slice {best} of 0 to {last}: " if last else ""
            found = sum(result.found for result in by_slice.values())
            count = f" Found on {found or 'none'} of {self.slice_count} slices." if self.slice_count > 1 else ""
            yield f"{name}{where}{by_slice[best].text}{count}"

    def report(self, statistics: bool = False) -> dict[str, Any]:
        """Return the results as JSON values."""
        rows = []
        for label, by_slice in self.results.items():
            for number, result in by_slice.items():
                row: dict[str, Any] = {
                    "label": label,
                    "prompt": result.prompt,
                    "slice": number,
                    "found": result.found,
                    "score": round(result.score, 4),
                    "message": result.message,
                    "notes": result.notes,
                    "presence": None,
                    "pixels": int(result.mask.sum()),
                    "boxes": [],
                    "predicted_iou": [],
                    "agreement": None,
                    "expected_dsc": None,
                    "seconds": {},
                }
                if isinstance(result, PromptedResult):
                    row["presence"] = round(result.where.presence.probability, 4)
                    row["boxes"] = [self._in_whole(box) for box in result.sam_prompts.boxes.tolist()]
                    row["predicted_iou"] = [round(float(quality), 4) for quality in result.predicted_iou]
                    row["agreement"] = round(result.agreement, 4)
                    if result.expected_dsc is not None:
                        row["expected_dsc"] = round(result.expected_dsc, 4)
                    row["seconds"] = {stage: round(value, 4) for stage, value in result.seconds.items()}
                rows.append(row)
        files = [str(path) for label, path in self.places.masks.items() if not label or label in self.segments]
        report: dict[str, Any] = {
            "input": str(self.volume.path),
            "output": files[0],
            "outputs": files,
            "plane": self.stack.plane,
            "slices": self.slice_count,
            "notes": list(self.notes),
            "tags": self.tags,
            "results": rows,
        }
        if statistics:
            report["statistics"] = [row.as_dict() for row in self.statistics]
        return report

    def _in_whole(self, box: list[float]) -> list[float]:
        """Convert a box, x0 y0 x1 y1, from pixels of the region's image to pixels of the whole image."""
        if self.region is not None:
            part = SliceStack(self.region.cut(self.volume), self.stack.plane)
            moved: list[float] = []
            for x, y in (box[:2], box[2:]):
                index = [own + first for own, first in zip(part.index_at(0, x, y), self.region.start)]
                moved += self.stack.image_at(index)[1:]
            box = moved
        return [round(value, 1) for value in box]


def _note_same_masks(segments: Mapping[str, Segment]) -> dict[str, str]:
    """Return, by label, a note on each segment whose mask is the same as that of an earlier one.

    This happens with two prompts for one structure, or with words that the models cannot distinguish.
    """
    notes = {}
    sizes = {label: int(np.count_nonzero(segment.mask)) for label, segment in segments.items()}
    earlier: list[str] = []
    for label, segment in segments.items():
        for other in earlier:
            small, large = sorted((sizes[label], sizes[other]))
            if not small or small < MIN_IOU * large:
                continue
            shared = int(np.count_nonzero(segment.mask & segments[other].mask))
            iou = shared / (small + large - shared)
            if iou >= MIN_IOU:
                notes[label] = f"'{label}' is the same mask as '{other}' (IoU {iou:.2f})."
                break
        earlier.append(label)
    return notes
