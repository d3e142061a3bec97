"""The text pipeline on phantoms that no choice was made on, beside controls that could prove it wrong.

Controls, each with the same SAM 2 on the same pictures:
    random_box       the boxes that the pipeline used, moved to random places;
    full_box         one box around the whole picture;
    other_saliency   the boxes that the pipeline found on another picture of the same task.
A control near the pipeline's figure says that the text did not earn it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..evaluation.metrics import dsc, nsd
from ..phantoms.dataset import make_phantom
from ..phantoms.phantom import Phantom
from ..run_context import RunContext
from ..segmentation.result import PromptedResult
from ..segmentation.sam_prompts import SamPrompts
from ..segmentation.segmenter import TextSegmenter

NSD_TOLERANCE = 2.0
"""Pixels."""


@dataclass(frozen=True)
class Task:
    """A task of the benchmark: which phantoms, which prompt, what is true."""

    modality: str
    prompt: str
    lesions: bool

    def truth(self, phantom: Phantom) -> np.ndarray:
        return phantom.lesion_mask if self.lesions else phantom.lungs_mask

    def phantom(self, split: str, index: int) -> Phantom:
        """Every third lesion phantom has two lesions, the others one."""
        return make_phantom(split, index, self.modality, (2 if index % 3 == 2 else 1) if self.lesions else None)


TASKS = {
    "us_tumour": Task("US", "breast tumor", True),
    "mri_tumour": Task("MR", "brain tumor", True),
    "xray_lungs": Task("XR", "lungs", False),
    "ct_lungs": Task("CT", "lungs", False),
    "ct_nodule": Task("CT", "lung nodule", True),
}

LESION_FREE_OFFSET = 100_000
"""Index of the first lesion-free phantom: none of the tasks' phantoms comes near."""


def picture_of(phantom: Phantom) -> np.ndarray:
    """The phantom as the models take it, (SIZE, SIZE, 3) uint8."""
    return np.repeat(phantom.picture[..., None], 3, axis=2)


def benchmark_phantoms(
    segmenter: TextSegmenter,
    cases: int = 50,
    split: str = "test",
    context: RunContext = RunContext(),
) -> dict:
    """Measure every task on `cases` phantoms and as many lesion-free ones a lesion task.

    Returns:
        {"tasks": {task: {"cases", "dsc", "nsd", "coarse_dsc", "empty", "dsc_sd", "controls": {...}}},
        "lesion_free": {"cases", "empty_fraction", "by_task"}, "seconds_per_image"}: means over the cases, 0 to 1; a
        case in which nothing was found counts as 0.
    """
    seconds: list[float] = []
    tasks = {
        name: _measure(segmenter, task, cases, split, seconds, context.titled(name)) for name, task in TASKS.items()
    }
    empty = {name: _lesion_free(segmenter, task, cases, split) for name, task in TASKS.items() if task.lesions}
    free = {"cases": cases * len(empty), "empty_fraction": float(np.mean(list(empty.values()))), "by_task": empty}
    return {"tasks": tasks, "lesion_free": free, "seconds_per_image": float(np.mean(seconds))}


def _measure(
    segmenter: TextSegmenter, task: Task, cases: int, split: str, seconds: list[float], context: RunContext
) -> dict:
    rng = np.random.default_rng(12)
    phantoms = [task.phantom(split, index) for index in range(cases)]
    results: list[PromptedResult] = []
    scores: dict[str, list[float]] = {name: [] for name in ("dsc", "nsd", "coarse_dsc", "random_box", "full_box")}
    for index, phantom in enumerate(phantoms):
        truth = task.truth(phantom)
        started = time.perf_counter()
        segmenter.set_image(picture_of(phantom))
        result = segmenter.segment(task.prompt)
        seconds.append(time.perf_counter() - started)
        results.append(result)
        scores["dsc"].append(dsc(result.mask, truth))
        scores["nsd"].append(nsd(result.mask, truth, (1.0, 1.0), NSD_TOLERANCE))
        scores["coarse_dsc"].append(dsc(result.coarse, truth))
        scores["random_box"].append(
            dsc(segmenter.outline(_moved(result.sam_prompts.boxes, truth.shape, rng))[0], truth)
        )
        full = np.array([[0, 0, truth.shape[1], truth.shape[0]]], np.float32)
        scores["full_box"].append(dsc(segmenter.outline(SamPrompts.from_boxes(full))[0], truth))
        context.report(index + 1, cases, task.prompt)
    other = []
    for phantom, result in zip(phantoms, results[1:] + results[:1]):
        segmenter.set_image(picture_of(phantom))
        other.append(dsc(segmenter.outline(result.sam_prompts)[0], task.truth(phantom)))
    mean = {name: float(np.mean(values)) for name, values in scores.items()}
    controls = {
        "random_box": mean.pop("random_box"),
        "full_box": mean.pop("full_box"),
        "other_saliency": float(np.mean(other)),
    }
    missed = sum(not result.found for result in results)
    return {"cases": cases, **mean, "dsc_sd": float(np.std(scores["dsc"])), "empty": missed, "controls": controls}


def _lesion_free(segmenter: TextSegmenter, task: Task, cases: int, split: str) -> float:
    """The share of lesion-free phantoms that come out empty."""
    empty = 0
    for index in range(cases):
        segmenter.set_image(picture_of(make_phantom(split, LESION_FREE_OFFSET + index, task.modality, 0)))
        empty += not segmenter.segment(task.prompt).found
    return empty / cases


def _moved(boxes: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> SamPrompts:
    """Boxes of the same size at random places inside a picture of `shape` (rows, columns)."""
    extent = np.array([shape[1], shape[0]], np.float32)
    size = boxes[:, 2:] - boxes[:, :2]
    corner = (rng.random(size.shape) * (extent - size)).astype(np.float32)
    return SamPrompts.from_boxes(np.concatenate([corner, corner + size], axis=1))
