"""Images for the weakly supervised stage: phantoms, or the patients of a set of real images."""

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
        models: name in the catalogue of both the text-image model and the SAM 2 for them; so of `RealCases`.
        prompt: of the text pipeline.
    """

    models = "demo"

    def __init__(self, task: str) -> None:
        self._task, self.prompt = TASKS[task], TASKS[task].prompt

    def load(self, split: str, count: int) -> list[TruthImage]:
        """Return `count` images of "train", "validation" or "test" with their truth, the same at every call."""
        return self._task.images(split, range(OFFSET, OFFSET + count))


@dataclass(frozen=True)
class RealCases:
    """Patients of a real set; see `PhantomCases`.

    Args:
        folder: of the set, of a name in `REAL_SETS`.
    """

    folder: Path
    models: ClassVar[str] = "starter"

    def __post_init__(self) -> None:
        if self.folder.name not in REAL_SETS:
            raise InputError(f"Expected a folder named {', '.join(REAL_SETS)}, got '{self.folder}'.", "Name a set.")

    @property
    def prompt(self) -> str:
        """Prompt of the set."""
        return REAL_SETS[self.folder.name].prompt

    def check(self, split: str, count: int) -> None:
        """Refuse a split that `load` would refuse, without decoding its images.

        Raises:
            InputError: an invalid set.
        """
        choose_cases(self.folder.parent, self.folder.name, split, count)

    def load(self, split: str, count: int) -> list[TruthImage]:
        """Return up to `count` images of a split with their truth, without those that cannot be used.

        Raises:
            InputError: an invalid set, or nothing of it can be used.
        """
        cases, skipped = load_images(choose_cases(self.folder.parent, self.folder.name, split, count))
        if not cases:
            raise InputError(f"Expected images of '{self.folder}' that can be used, got none of {len(skipped)}.")
        names = case_names([Path(case.name) for case in cases])  # which files of an export and of nnU-Net can have
        return [TruthImage(name, case.image, case.truth) for name, case in zip(names, cases)]


WeakCases = PhantomCases | RealCases


def shrink(case: TruthImage, longest: int | None) -> TruthImage:
    """Shrink an image and its truth until the longer side has `longest` pixels; smaller ones stay as they are."""
    height, width = case.truth.shape
    if longest is None or longest >= max(height, width):
        return case
    size = round(width * longest / max(height, width)), round(height * longest / max(height, width))
    image = Image.fromarray(case.image).resize(size, Image.Resampling.LANCZOS)
    truth = Image.fromarray(case.truth.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return TruthImage(case.name, np.asarray(image), np.asarray(truth) > 127)
