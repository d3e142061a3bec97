"""The cyclical learning rate of the weakly supervised stage, and which checkpoints of it are kept.

MedCLIP-SAMv2 (arXiv 2409.19483), section on weak supervision: 3 cycles of 200 epochs from a rate of 0.01, the last 10
checkpoints of each cycle kept. In a cycle the rate falls as in Zhao et al. 2022 (arXiv 2212.06278): polynomially for
most of the cycle, then it stays, so that the kept checkpoints are different weights of one optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InputError

IN_PLANS = "medclipsam"
"""Key of nnU-Net's plans under which a schedule lies, so that nnU-Net's own commands train by it too."""

EXPONENT = 0.9
"""Of nnU-Net's polynomial decay."""


@dataclass(frozen=True)
class Schedule:
    """When the network learns how fast.

    Args:
        cycles, epochs: cycles, and epochs of each.
        keep: checkpoints at the end of each cycle that make the ensemble.
        iterations, validations: batches an epoch, for training and for the progress curve.
        learning_rate: at the start of a cycle.
        falling: share of a cycle in which the rate falls; then it stays.
    """

    cycles: int = 3
    epochs: int = 200
    keep: int = 10
    iterations: int = 250
    validations: int = 50
    learning_rate: float = 0.01
    falling: float = 0.8

    def __post_init__(self) -> None:
        whole = (self.cycles, self.epochs, self.keep, self.iterations, self.validations)
        if min(whole) < 1 or self.keep > self.epochs or self.learning_rate <= 0 or not 0 <= self.falling < 1:
            raise InputError(
                f"No schedule of training: {asdict(self)}.",
                "Numbers are 1 or more, not more checkpoints are kept than a cycle has epochs, the rate is above 0, "
                "and it falls for a share from 0 to below 1 of a cycle.",
            )

    @property
    def total(self) -> int:
        """Epochs in all."""
        return self.cycles * self.epochs

    def rate(self, epoch: int) -> float:
        """Compute the learning rate of an epoch, counted from 0 over all cycles."""
        within = min(epoch % self.epochs, self.falling * self.epochs)
        return self.learning_rate * (1 - within / self.epochs) ** EXPONENT

    def kept(self, epoch: int) -> bool:
        """Whether the weights after this epoch belong to the ensemble."""
        return epoch % self.epochs >= self.epochs - self.keep

    def file(self, epoch: int) -> str:
        """Return the file of the weights after an epoch; cycles and epochs in it count from 1."""
        return f"cycle{epoch // self.epochs + 1}_epoch{epoch % self.epochs + 1:04d}.safetensors"

    def files(self) -> list[str]:
        """Return the files of the whole ensemble, in the order of training."""
        return [self.file(epoch) for epoch in range(self.total) if self.kept(epoch)]


def schedule_of(plans: Mapping[str, Any]) -> Schedule:
    """Read the schedule in nnU-Net's plans; the paper's where they hold none.

    Raises:
        InputError: what is there is no schedule.
    """
    try:
        return Schedule(**plans.get(IN_PLANS, {}))
    except TypeError as error:
        raise InputError(f"The plans hold no schedule under '{IN_PLANS}': {error}.", "Train anew.") from error
