"""Images for the weakly supervised stage: phantoms, or patients of a set of real images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from ..errors import InputError
from ..export.cases import case_names
from .phantom_benchmark import TASKS
from .prompted import TruthImage
from .real import load_images
from .real_sets import REAL_SETS, choose_cases

OFFSET = 300_000
"""Index of the first phantom of each split, far from those of any training, choice or benchmark."""


class PhantomCases:
    """Phantoms of a task of the benchmark.

    Attributes:
        models: catalogue name of both the text-image model and the SAM 2 to use.
        prompt: prompt of the text pipeline.
    """

    models = "demo"

    def __init__(self, task: str) -> None:
        self._task, self.prompt = TASKS[task], TASKS[task].prompt

    def load(self, split: str, count: int) -> list[TruthImage]:
        """Return `count` images of "train", "validation" or "test" with their truth, the same at every call."""
        return self._task.images(split, range(OFFSET, OFFSET + count))


@dataclass(frozen=True)
class RealCases:
    """Patients of a real set, with the same attributes as `PhantomCases`.

    Args:
        folder: folder of the set; its name is one of `REAL_SETS`.
    """

    folder: Path
    models: ClassVar[str] = "starter"

    def __post_init__(self) -> None:
        if self.folder.name not in REAL_SETS:
            raise InputError(
                f"Expected a folder named {', '.join(REAL_SETS)}, got '{self.folder}'.", "Give the folder of a set."
            )

    @property
    def prompt(self) -> str:
        """The prompt of the set."""
        return REAL_SETS[self.folder.name].prompt

    def check(self, split: str, count: int) -> None:
        """Check that `load` accepts a split, without decoding its images.

        Raises:
            InputError: the set is invalid.
        """
        choose_cases(self.folder.parent, self.folder.name, split, count)

    def load(self, split: str, count: int) -> list[TruthImage]:
        """Return up to `count` images of a split with their truth, leaving out unusable ones.

        Raises:
            InputError: the set is invalid, or none of its images can be used.
        """
        cases, skipped = load_images(choose_cases(self.folder.parent, self.folder.name, split, count))
        if not cases:
            raise InputError(f"Expected usable images in '{self.folder}', but none of {len(skipped)} can be used.")
        names = case_names([Path(case.name) for case in cases])  # valid names for files of an export and of nnU-Net
        return [TruthImage(name, case.image, case.truth) for name, case in zip(names, cases)]


WeakCases = PhantomCases | RealCases


def shrink(case: TruthImage, longest: int | None) -> TruthImage:
    """Shrink an image and its truth so that the longer side has `longest` pixels; smaller ones stay the same."""
    height, width = case.truth.shape
    if longest is None or longest >= max(height, width):
        return case
    size = round(width * longest / max(height, width)), round(height * longest / max(height, width))
    image = Image.fromarray(case.image).resize(size, Image.Resampling.LANCZOS)
    truth = Image.fromarray(case.truth.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return TruthImage(case.name, np.asarray(image), np.asarray(truth) > 127)
