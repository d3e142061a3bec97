"""The figures of each training step, for the run's log, TensorBoard and the caller."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_path
from ..run_context import RunContext


@dataclass(frozen=True)
class StepFigures:
    """The figures of a training step, which make a line of the log and the details of a progress report.

    Args:
        step: number of steps done.
        steps: total number of steps, unless training ends early.
        epoch: number of the epoch, from 0.
        loss: loss of the last batch.
        learning_rate: learning rate of the last step.
        seconds_left: estimated time left, if training does not end early.
        validation: at the end of an epoch, {"loss", "top1", "best"}: the loss, the mean top-1 retrieval of both
            directions, and the best of these so far.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds_left: float
    validation: dict[str, float] | None = None


class StepLog:
    """The log of the steps, which only the first process writes.

    Args:
        fabric: Lightning Fabric with a logger for TensorBoard.
        path: a file of JSON lines, one per step.
        context: receives every step, with `StepFigures` as details.
    """

    def __init__(self, fabric: Any, path: Path, context: RunContext) -> None:
        self._fabric, self._path, self._context = fabric, path, context

    def report(self, figures: StepFigures) -> None:
        """Append the figures of a step to the log, and report them to the context."""
        if not self._fabric.is_global_zero:
            return
        line = asdict(figures)
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        curves = {"training/loss": figures.loss, "training/learning_rate": figures.learning_rate}
        curves |= {f"validation/{name}": value for name, value in (figures.validation or {}).items()}
        self._fabric.log_dict(curves, step=figures.step)
        message = f"epoch {figures.epoch + 1}, loss {figures.loss:.3f}"
        left = line.pop("seconds_left")
        self._context.report(figures.step, figures.steps, message, seconds_left=left, **line)

    def drop_after(self, step: int) -> None:
        """Drop the lines of steps after a checkpoint, which will be repeated, and any truncated line."""
        if not self._fabric.is_global_zero:
            return
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            previous = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        except (OSError, ValueError, KeyError):
            return
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(previous), encoding="utf-8")
