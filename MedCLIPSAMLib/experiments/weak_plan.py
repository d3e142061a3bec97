"""The size of the experiment on the weakly supervised stage."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ..nnunet.schedule import Schedule
from ..nnunet.train import SHORT, TrainSettings
from .weak_cases import PhantomCases, RealCases, WeakCases

COLUMNS = {"us_tumour": "US", "mri_tumour": "MRI", "xray_lungs": "X-ray", "ct_lungs": "CT"}
"""Phantom tasks that stand in for the paper's four data sets, and the names of these."""


@dataclass(frozen=True)
class WeakPlan:
    """Size of the experiment.

    Args:
        train, validation, test: maximum number of images per task; the order of review is chosen on validation.
        training: settings for every network.
        tasks: names in `COLUMNS`, or the folder of a set of real images.
        longest: longer side in pixels to which images are shrunk for nnU-Net. Everything else, including the metrics,
            uses the original size.
    """

    train: int = 120
    validation: int = 40
    test: int = 100
    training: TrainSettings = field(
        default_factory=lambda: replace(SHORT, schedule=replace(SHORT.schedule, iterations=50))
    )
    tasks: tuple[str, ...] = tuple(COLUMNS)
    longest: int | None = None

    def cases(self, task: str) -> WeakCases:
        """Find the images of a task."""
        return PhantomCases(task) if task in COLUMNS else RealCases(Path(task))


def real_plan(folder: Path) -> WeakPlan:
    """Plan an experiment on a set of real images that takes less than an hour on two cores."""
    training = replace(SHORT, schedule=replace(SHORT.schedule, iterations=25))
    return WeakPlan(training=training, tasks=(str(folder),), longest=128)


def quick(plan: WeakPlan = WeakPlan()) -> WeakPlan:
    """Return a plan for a trial run that takes a minute or two; its figures mean nothing."""
    schedule = Schedule(cycles=2, epochs=2, keep=1, iterations=4, validations=1)
    training = replace(plan.training, schedule=schedule, batch=4, width=4)
    return replace(plan, train=8, validation=2, test=3, training=training, tasks=plan.tasks[-1:])
