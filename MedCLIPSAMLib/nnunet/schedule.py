"""The cyclical learning rate of the weakly supervised stage, and which checkpoints of it are kept.

MedCLIP-SAMv2 (arXiv 2409.19483), section on weak supervision: 3 cycles of 200 epochs from a rate of 0.01, the last 10
checkpoints of each cycle kept. In a cycle the rate falls as in Zhao et al. 2022 (arXiv 2212.06278): polynomially for
most of the cycle, then it stays, so that the kept checkpoints are different weights of one optimum.

The paper does not say over which length the rate falls. `Schedule()` divides by the cycle's own epochs and ends each
cycle at .0024; the authors' released code, run as its README says, divides by the epochs of all cycles, stops falling
in the middle of a cycle and ends at .0085: `RELEASED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ..choices import RateDecay
from ..errors import InputError
from ..validated import Choice, settings_class

IN_PLANS = "medclipsam"
"""Key of a schedule in nnU-Net's plans, so that nnU-Net's own commands train by it too."""

SEED_IN_PLANS = "medclipsam_seed"
"""And the seed of all random draws, where there is one."""

EXPONENT = 0.9
"""Exponent of nnU-Net's polynomial decay."""

BEST = "best.safetensors"
"""The best weights by nnU-Net's progress curve; not in the ensemble unless requested."""

Count = Annotated[int, Field(ge=1)]


@settings_class
class Schedule:
    """The learning rate by epoch, and the checkpoints to keep.

    Args:
        cycles, epochs: cycles, and epochs of each.
        keep: checkpoints at the end of each cycle that make the ensemble.
        iterations, validations: batches an epoch, for training and for the progress curve.
        learning_rate: at the start of a cycle.
        falling: share of a cycle in which the rate falls; then it stays.
        decay: "cycle", and the rate falls as if to 0 at the end of the cycle; "training", at the end of all cycles.
    """

    cycles: Count = 3
    epochs: Count = 200
    keep: Count = 10
    iterations: Count = 250
    validations: Count = 50
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    falling: Annotated[float, Field(ge=0, lt=1)] = 0.8
    decay: Choice[RateDecay] = RateDecay.CYCLE

    def __post_init__(self) -> None:
        if self.keep > self.epochs:
            raise InputError(
                f"Expected at most {self.epochs} checkpoints of a cycle, one an epoch, got {self.keep}.", "Keep fewer."
            )

    @property
    def total(self) -> int:
        """Number of all epochs."""
        return self.cycles * self.epochs

    def rate(self, epoch: int) -> float:
        """Compute the learning rate of an epoch, counted from 0 over all cycles."""
        within = min(epoch % self.epochs, self.falling * self.epochs)
        length = self.epochs if self.decay == RateDecay.CYCLE else self.total
        return self.learning_rate * (1 - within / length) ** EXPONENT

    def keeps(self, epoch: int) -> bool:
        """Tell whether the weights after this epoch belong to the ensemble."""
        return epoch % self.epochs >= self.epochs - self.keep

    def file(self, epoch: int) -> str:
        """Return the file of the weights after an epoch; cycles and epochs in it count from 1."""
        return f"cycle{epoch // self.epochs + 1}_epoch{epoch % self.epochs + 1:04d}.safetensors"

    def files(self) -> list[str]:
        """Return the files of the whole ensemble, in the order of training."""
        return [self.file(epoch) for epoch in range(self.total) if self.keeps(epoch)]


RELEASED = Schedule(falling=0.5, decay=RateDecay.TRAINING)
"""The rate of the authors' released code; it keeps epochs 190 to 199 of a cycle, this class 191 to 200."""


def read_schedule(plans: Mapping[str, Any]) -> Schedule:
    """Read the schedule in nnU-Net's plans; the paper's where they hold none.

    Raises:
        InputError: an invalid schedule.
    """
    try:
        return Schedule(**plans.get(IN_PLANS, {}))
    except (TypeError, InputError) as error:
        raise InputError(f"The plans hold no schedule under '{IN_PLANS}': {error}.", "Train again.") from error
