"""The cyclical learning rate of the weakly supervised stage, and the checkpoints that are kept.

The schedule is that of MedCLIP-SAMv2 (arXiv 2409.19483, section on weak supervision): 3 cycles of 200 epochs, each
starting from a rate of 0.01, with the last 10 checkpoints of each cycle kept. Within a cycle the rate follows Zhao et
al. 2022 (arXiv 2212.06278): it falls polynomially for most of the cycle and then stays constant, so that the kept
checkpoints are different weights around one optimum.

The paper does not state the length over which the rate falls. `Schedule()` divides by the epochs of one cycle, so that
each cycle ends at .0024. The authors' released code, run as in its README, divides by the epochs of all cycles, and the
rate stops falling in the middle of a cycle, at .0085; this is `RELEASED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ..choices import RateDecay
from ..errors import InputError
from ..validated import Choice, settings_class

IN_PLANS = "medclipsam"
"""Key of the schedule in nnU-Net's plans, from which nnU-Net's own commands follow it too."""

SEED_IN_PLANS = "medclipsam_seed"
"""Key of the random seed in nnU-Net's plans, if there is one."""

EXPONENT = 0.9
"""Exponent of nnU-Net's polynomial decay."""

BEST = "best.safetensors"
"""File of the best weights by nnU-Net's progress curve, which are in the ensemble only on request."""

Count = Annotated[int, Field(ge=1)]


@settings_class
class Schedule:
    """The learning rate of each epoch, and the checkpoints to keep.

    Args:
        cycles, epochs: number of cycles, and of epochs per cycle.
        keep: number of checkpoints at the end of each cycle that make up the ensemble.
        iterations, validations: batches per epoch for training and for the progress curve.
        learning_rate: learning rate at the start of a cycle.
        falling: share of a cycle during which the rate falls; after that it stays constant.
        decay: when the rate would reach 0 if it kept falling: at the end of the "cycle", or of the whole "training".
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
                f"Expected at most {self.epochs} checkpoints of a cycle, one per epoch, got {self.keep}.",
                "Keep fewer.",
            )

    @property
    def total(self) -> int:
        """The number of epochs in all cycles."""
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
        """Return the name of the weights file after an epoch, in which cycles and epochs are counted from 1."""
        return f"cycle{epoch // self.epochs + 1}_epoch{epoch % self.epochs + 1:04d}.safetensors"

    def files(self) -> list[str]:
        """Return the names of the whole ensemble's files, in the order of training."""
        return [self.file(epoch) for epoch in range(self.total) if self.keeps(epoch)]


RELEASED = Schedule(falling=0.5, decay=RateDecay.TRAINING)
"""The rate of the authors' released code, which keeps epochs 190 to 199 of a cycle; this class keeps 191 to 200."""


def read_schedule(plans: Mapping[str, Any]) -> Schedule:
    """Read the schedule in nnU-Net's plans, or return the paper's if they contain none.

    Raises:
        InputError: the schedule is invalid.
    """
    try:
        return Schedule(**plans.get(IN_PLANS, {}))
    except (TypeError, InputError) as error:
        raise InputError(f"The plans hold no valid schedule under '{IN_PLANS}': {error}.", "Train again.") from error
