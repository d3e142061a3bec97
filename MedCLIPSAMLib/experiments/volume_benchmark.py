"""Benchmark of the strategies for whole volumes on phantom volumes, and of the gain from correcting one slice.

Phantoms are treated like a user's volume: as a SimpleITK image, segmented by `segment_volume` with one prompt and no
click, with masks on the voxel grid.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from ..choices import Strategy
from ..evaluation.metrics import dsc
from ..phantoms.volumes import VolumePhantom, make_volume
from ..pipeline.request import SegmentationRequest
from ..pipeline.segment_volume import segment_volume
from ..propagation.propagate_masks import propagate_masks
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from ..volumes import Geometry, SliceStack, Volume
from .phantom_benchmark import TASKS
from .prompted import check_split

BAD = 0.6
"""DSC below which a case is corrected."""
LESION_FREE_OFFSET = 10_000
WINDOW = (0.0, 255.0)
VOLUME_TASKS = {name: TASKS[name] for name in ("ct_lungs", "ct_nodule", "mri_tumour")}


def volume_of(phantom: VolumePhantom) -> Volume:
    """Convert a phantom to a volume: slice 0 is the lowest, rows run to posterior, columns to the patient's left."""
    k, j, i = phantom.spacing
    return Volume(phantom.slices, Geometry(spacing=(i, j, k)), "phantom", phantom.modality)


def benchmark_volumes(
    segmenter: TextSegmenter,
    cases: int = 20,
    split: str = "test",
    strategies: Sequence[Strategy] = (Strategy.SLICES, Strategy.BOXES, Strategy.MEMORY),
    context: RunContext = RunContext(),
) -> dict:
    """Measure every strategy on every task and on lesion-free volumes, and the correction of bad cases.

    Returns:
        {"tasks": {task: {"cases", "strategies": {strategy: {"dsc", "dsc_sd", "seconds", "by_case"}}}},
        "lesion_free": {strategy: {"cases", "empty_fraction"}}, "correction": {"cases", "before", "after"}}.
        Values are means over cases, those of "correction" medians (None without a bad case); DSC is in 3-D.
    """
    check_split(split)
    tasks = {}
    bad: list[tuple[VolumePhantom, np.ndarray, np.ndarray]] = []
    for name, task in VOLUME_TASKS.items():
        rows: dict[Strategy, list[tuple[float, float]]] = {strategy: [] for strategy in strategies}
        for index in range(cases):
            phantom = make_volume(split, index, task.modality, task.lesion_count(index))
            truth = task.truth(phantom)
            for strategy in strategies:
                mask, seconds = _segment(segmenter, phantom, task.prompt, strategy)
                score = dsc(mask, truth)
                rows[strategy].append((score, seconds))
                if score < BAD:
                    bad.append((phantom, mask, truth))
            context.report(index + 1, cases, name)
        tasks[name] = {
            "cases": cases,
            "strategies": {
                strategy.value: {
                    "dsc": float(np.mean([score for score, _ in values])),
                    "dsc_sd": float(np.std([score for score, _ in values])),
                    "seconds": float(np.mean([seconds for _, seconds in values])),
                    "by_case": [round(score, 4) for score, _ in values],
                }
                for strategy, values in rows.items()
            },
        }
    free = {strategy.value: _lesion_free(segmenter, cases, split, strategy) for strategy in strategies}
    return {"tasks": tasks, "lesion_free": free, "correction": _corrections(segmenter, bad)}


def _segment(
    segmenter: TextSegmenter, phantom: VolumePhantom, prompt: str, strategy: Strategy
) -> tuple[np.ndarray, float]:
    volume = volume_of(phantom)
    started = time.perf_counter()
    request = SegmentationRequest((prompt,), slices="all", strategy=strategy, window=WINDOW)
    result = segment_volume(segmenter, volume, request).collect()
    return result.segments()[0].mask, time.perf_counter() - started


def _lesion_free(segmenter: TextSegmenter, cases: int, split: str, strategy: Strategy) -> dict:
    empty = [
        not _segment(segmenter, make_volume(split, index, task.modality, 0), task.prompt, strategy)[0].any()
        for task in VOLUME_TASKS.values()
        for index in range(LESION_FREE_OFFSET, LESION_FREE_OFFSET + (cases if task.lesions else 0))
    ]
    return {"cases": len(empty), "empty_fraction": float(np.mean(empty))}


def _corrections(segmenter: TextSegmenter, bad: list[tuple[VolumePhantom, np.ndarray, np.ndarray]]) -> dict:
    """Replace the slice with the largest error by the truth and propagate from it, like "Propagate correction".

    On the slices that the object is propagated to, its mask replaces the old one. Beyond its end, masks that were
    connected to it are removed. Other masks stay.
    """
    before, after = [], []
    for phantom, mask, truth in bad:
        stack = SliceStack(volume_of(phantom), "axial", WINDOW)
        wrong = (mask != truth).sum((1, 2)) * truth.any((1, 2))
        k = int(wrong.argmax())
        corrected, reached = mask.copy(), {k}
        corrected[k] = truth[k]
        for number, masks in propagate_masks(segmenter, len(stack), stack.image, {"": {k: truth[k]}}):
            corrected[number] = masks[""]
            reached.add(number)
        for number, step in ((min(reached) - 1, -1), (max(reached) + 1, 1)):
            while 0 <= number < len(stack) and corrected[number].any():
                corrected[number] = False
                number += step
        before.append(dsc(mask, truth))
        after.append(dsc(corrected, truth))
    median = lambda values: float(np.median(values)) if values else None
    return {"cases": len(bad), "before": median(before), "after": median(after)}
