"""Parts shared by both trainings: the budget, the schedule, averaged weights, and checkpoints that resume exactly.

Every step draws its random numbers from a generator that is seeded only by the run's seed and the step, so a stopped
run resumes as if it had not been stopped. With a budget in seconds the learning rate follows the clock, which differs
between runs; a resumed run then continues from the same weights and the same fraction of its time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..finetune.checkpoint import read_checkpoint, write_checkpoint
from ..finetune.optimizer import convert_to_half, group_by_decay
from ..models.device import fast_bfloat16
from ..models.weights import write_weights
from ..run_context import RunContext

SAVE_EVERY = 60.0
"""Seconds between checkpoints."""
_LOG_EVERY = 50


@dataclass(frozen=True)
class Budget:
    """The length of a training, in steps or in seconds.

    Args:
        steps: number of optimizer steps; None for as many as fit in `seconds`.
        seconds: duration of the steps only, without the preparation of the data.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None) or not (self.steps or self.seconds or 0) > 0:
            raise InputError(
                f"Expected a number of steps or of seconds, got {self.steps} and {self.seconds}.", "Give exactly one."
            )

    def share(self, part: float) -> Budget:
        """Return a fraction of the budget; at least one step."""
        if self.steps is not None:
            return Budget(steps=max(1, round(self.steps * part)))
        return Budget(seconds=(self.seconds or 0) * part)

    def progress(self, step: int, seconds: float) -> float:
        """Return the fraction of the budget used after `step` steps and `seconds` seconds, 0 to 1."""
        return min(1.0, step / self.steps if self.steps is not None else seconds / (self.seconds or 1))


@dataclass(frozen=True)
class TrainingRun:
    """Settings of a training run.

    Args:
        checkpoint: the checkpoint file.
        resume: whether to continue from the checkpoint.
    """

    budget: Budget
    device: torch.device
    checkpoint: Path
    resume: bool = False
    context: RunContext = RunContext()


@dataclass(frozen=True)
class Stage:
    """A part of a training with its own optimizer and schedule.

    Args:
        number: index of the stage, counted from 0.
        learning_rate: maximum learning rate.
        warm_up: number of steps until it is reached.
    """

    number: int
    name: str
    budget: Budget
    learning_rate: float
    weight_decay: float
    warm_up: int


def learning_rate(peak: float, step: int, progress: float, warm_up: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to 0 over the budget."""
    return peak * min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * progress))


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Compute matrix products in bfloat16 if the device has instructions for it, else in float32."""
    return torch.autocast(device.type, torch.bfloat16) if fast_bfloat16(device) else nullcontext()


class Trainee:
    """A model in training: its optimizer, the moving average of its weights, and its checkpoint.

    Args:
        model: on its device, in training mode.
        extra: further parameters that are trained but not shipped.
        weights: file of the averaged weights, written with every checkpoint.
        settings: settings of the run; a checkpoint with other settings is rejected.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        extra: list[torch.nn.Parameter],
        weights: Path,
        settings: dict[str, Any],
        run: TrainingRun,
    ) -> None:
        self.model, self.step, self.seconds, self.stage, self._begun = model, 0, 0.0, 0, 0
        self._extra, self._path, self._file, self._context = extra, run.checkpoint, weights, run.context
        self._settings: dict[str, Any] = json.loads(json.dumps(settings | asdict(run.budget), sort_keys=True))
        state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        self._weights = list(state.values())  # they share their memory with the model's
        self._average = {name: value.detach().clone().float() for name, value in state.items()}
        self._optimizer: torch.optim.AdamW | None = None
        self._resumed: dict[str, Any] | None = None
        if not run.resume:
            self._path.unlink(missing_ok=True)  # so that it is not resumed if this run ends before its first checkpoint
        elif self._path.is_file():
            self._resume()

    def _resume(self) -> None:
        """Load the checkpoint; raise ModelError if it is damaged or from a run with other settings."""
        state = read_checkpoint(self._path, self._settings)
        self.model.load_state_dict(state["model"])
        for parameter, value in zip(self._extra, state["extra"], strict=True):
            parameter.data.copy_(value)
        for name, value in state["average"].items():
            self._average[name].copy_(value)
        self.step, self.seconds, self.stage = state["step"], state["seconds"], state["stage"]
        self._begun = state["begun"]
        self._resumed = state["optimizer"]
        self._context.notify(f"{self._path.stem} resumes at step {self.step}.")

    def save(self) -> None:
        """Write the checkpoint and the averaged weights (float16); the previous files stay until these are complete."""
        state = {
            "fingerprint": self._settings,
            "model": self.model.state_dict(),
            "extra": [parameter.detach() for parameter in self._extra],
            "average": self._average,
            "optimizer": self._optimizer.state_dict() if self._optimizer else None,
            "step": self.step,
            "seconds": self.seconds,
            "stage": self.stage,
            "begun": self._begun,
        }
        write_checkpoint(self._path, state)
        about = {"training": json.dumps(self._settings), "steps": str(self.step)}
        write_weights(self._file, convert_to_half(self.model.state_dict() | self._average), about)

    def steps(self, stage: Stage) -> Iterator[tuple[int, float, Callable[[torch.Tensor], None]]]:
        """Yield (step of the stage, used fraction of the stage's budget, function that takes the loss) for each step.

        The loop must call the function once per step with its loss. Checkpoints are written at intervals and at the
        end. A stage that was finished before the checkpoint yields nothing.

        Raises:
            Cancelled: the run was cancelled; a checkpoint was written.
            OutputError: the checkpoint cannot be written.
            InputError: a loss is not a finite number; the last checkpoint stays.
        """
        if stage.number < self.stage:
            return
        self._start(stage)
        context = self._context
        assert self._optimizer is not None
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        begun = self._begun
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        losses: list[torch.Tensor] = []
        while (progress := stage.budget.progress(self.step - begun, time.monotonic() - started)) < 1:
            done = self.step - begun
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(stage.learning_rate, done, progress, stage.warm_up)

            def take(loss: torch.Tensor) -> None:
                self._update(loss, parameters)
                losses.append(loss.detach())

            yield done, progress, take
            self.seconds = time.monotonic() - started
            if done % _LOG_EVERY == _LOG_EVERY - 1 or done in (0, 1, 9):
                _check_losses(stage, losses)
                mean = torch.stack(losses).mean().item()
                losses.clear()
                rate = (done + 1) / self.seconds
                context.notify(
                    f"{stage.name} step {done + 1} loss {mean:.3f} {rate:.1f} steps/s {100 * progress:.0f} %"
                )
            context.report(progress, 1.0, stage.name)
            if time.monotonic() - saved > SAVE_EVERY or context.is_cancelled():
                _check_losses(stage, losses)
                self.save()
                saved = time.monotonic()
                context.raise_if_cancelled()
        _check_losses(stage, losses)
        self.stage, self.seconds, self._begun = stage.number + 1, 0.0, self.step
        self._optimizer = None
        self.save()

    def _start(self, stage: Stage) -> None:
        """Make the optimizer of a stage for its trainable parameters, with weight decay only on matrices."""
        free = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = group_by_decay([*free, *self._extra], stage.weight_decay)
        fused = next(self.model.parameters()).device.type == "cuda"
        self._optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98), fused=fused)
        if self._resumed is not None:
            self._optimizer.load_state_dict(self._resumed)
        self._resumed = None

    def _update(self, loss: torch.Tensor, parameters: list[torch.nn.Parameter]) -> None:
        assert self._optimizer is not None
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self._optimizer.step()
        self.step += 1
        decay = min(0.999, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), [value.float() for value in self._weights], 1 - decay)


def _check_losses(stage: Stage, losses: list[torch.Tensor]) -> None:
    if losses and not torch.stack(losses).isfinite().all():
        raise InputError(
            f"A loss of '{stage.name}' is not a finite number.", "Lower the learning rate, or resume from a checkpoint."
        )
