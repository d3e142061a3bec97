"""The text pipeline on phantoms that were not used for any choice, with the controls of `experiments.prompted`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..phantoms.dataset import make_phantom
from ..phantoms.phantom import Phantom
from ..phantoms.volumes import VolumePhantom
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from .prompted import TruthImage, check_split, measure_empty_share, measure_prompt, set_figures


@dataclass(frozen=True)
class PhantomTask:
    """A task of the benchmark: its phantoms (images or volumes), their prompt and truth."""

    modality: str
    prompt: str
    lesions: bool

    def truth(self, phantom: Phantom | VolumePhantom) -> np.ndarray:
        """Return the true mask of the target."""
        return phantom.lesion_mask if self.lesions else phantom.lungs_mask

    def lesion_count(self, index: int) -> int | None:
        """Return the number of lesions: two in every third phantom, else one; None if the target is not a lesion."""
        return (2 if index % 3 == 2 else 1) if self.lesions else None

    def phantom(self, split: str, index: int) -> Phantom:
        """Make a phantom image of the task."""
        return make_phantom(split, index, self.modality, self.lesion_count(index))

    def images(self, split: str, indices: Iterable[int]) -> list[TruthImage]:
        """Make phantom images with truth masks."""
        made = ((index, self.phantom(split, index)) for index in indices)
        return [TruthImage(f"case_{index}", to_rgb(phantom), self.truth(phantom)) for index, phantom in made]


TASKS = {
    "us_tumour": PhantomTask("US", "breast tumor", True),
    "mri_tumour": PhantomTask("MR", "brain tumor", True),
    "xray_lungs": PhantomTask("XR", "lungs", False),
    "ct_lungs": PhantomTask("CT", "lungs", False),
    "ct_nodule": PhantomTask("CT", "lung nodule", True),
}

LESION_FREE_OFFSET = 100_000
"""Index of the first lesion-free phantom, far above those of the tasks' phantoms."""


def to_rgb(phantom: Phantom) -> np.ndarray:
    """Convert a phantom to the models' input, (SIZE, SIZE, 3) uint8."""
    return np.repeat(phantom.image[..., None], 3, axis=2)


def benchmark_phantoms(
    segmenter: TextSegmenter,
    cases: int = 50,
    split: str = "test",
    context: RunContext = RunContext(),
) -> dict:
    """Measure every task on `cases` phantoms, and every lesion task on the same number of lesion-free ones.

    Returns:
        {"tasks": {task: see `set_figures`}, "lesion_free": {"cases", "empty_fraction", "by_task"},
        "seconds_per_image"}.
    """
    check_split(split)
    tasks = {
        name: set_figures(
            measure_prompt(segmenter, task.prompt, task.images(split, range(cases)), context.titled(name))
        )
        for name, task in TASKS.items()
    }
    empty = {
        name: measure_empty_share(segmenter, task.prompt, make_lesion_free_images(task.modality, split, cases))
        for name, task in TASKS.items()
        if task.lesions
    }
    free = {"cases": cases * len(empty), "empty_fraction": float(np.mean(list(empty.values()))), "by_task": empty}
    seconds = float(np.mean([figures["seconds"] for figures in tasks.values()]))
    return {"tasks": tasks, "lesion_free": free, "seconds_per_image": seconds}


def make_lesion_free_images(modality: str, split: str, cases: int) -> list[np.ndarray]:
    """Make lesion-free phantoms of a modality, as the models' input."""
    numbers = range(LESION_FREE_OFFSET, LESION_FREE_OFFSET + cases)
    return [to_rgb(make_phantom(split, number, modality, 0)) for number in numbers]
