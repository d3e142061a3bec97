"""The context of a long computation: where to report progress, whether to stop, and where to resume from.

    context = RunContext(on_progress=print, is_cancelled=lambda: stop_button.pressed)
    for result in segment_volume(segmenter, volume, request, context):
        ...

The command line, the worker or a program passes one object down to the innermost loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import NoneType
from typing import Any

from .checkpoints import CheckpointFolder
from .errors import Cancelled, check_type

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """The progress of a run.

    Args:
        done: amount done, in units of the run: a fraction of 1, slices, cases, steps, bytes.
        total: total amount in the same units; None if unknown.
        message: what is being done, for people.
        stage: what is being done, for programs: "saliency", "embedding", "mask", "presence", "propagation".
        seconds_left: estimated remaining time; None if there is no estimate.
        details: current values by name, such as slice, prompt, loss.
    """

    done: float
    total: float | None = 1.0
    message: str = ""
    stage: str = ""
    seconds_left: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share that is done, 0 to 1; 0 if the total is unknown."""
        return self.done / self.total if self.total else 0.0


@dataclass(frozen=True)
class RunContext:
    """Progress, notices, cancellation and checkpoints of one run.

    Args:
        on_progress: called with every `Progress`.
        on_notice: called with sentences for the user, for example when memory ran out.
        is_cancelled: called between steps; once it returns True the run ends with `errors.Cancelled`.
        checkpoints: where finished steps are stored and resumed from; None stores nothing.

    Raises:
        InputError: a value has the wrong type.
    """

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda sentence: None
    is_cancelled: Callable[[], bool] = lambda: False
    checkpoints: CheckpointFolder | None = None

    def __post_init__(self) -> None:
        for name in ("on_progress", "on_notice", "is_cancelled"):
            check_type(getattr(self, name), Callable, f"a function as {name}")  # type: ignore[arg-type]
        check_type(self.checkpoints, (CheckpointFolder, NoneType), "a CheckpointFolder as checkpoints")

    def report(
        self,
        done: float,
        total: float | None = 1.0,
        message: str = "",
        stage: str = "",
        seconds_left: float | None = None,
        **details: Any,
    ) -> None:
        """Report progress; see `Progress`."""
        self.on_progress(Progress(done, total, message, stage, seconds_left, details))

    def notify(self, sentence: str) -> None:
        """Notify the user, and log it."""
        log.info(sentence)
        self.on_notice(sentence)

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if the run was cancelled."""
        if self.is_cancelled():
            log.info("cancelled")
            raise Cancelled

    def part(self, start: float, end: float, message: str = "", **details: Any) -> RunContext:
        """Derive the context of a part of the run that covers the fractions from `start` to `end`.

        Args:
            message, details: defaults for the reports of the part.
        """

        def report(progress: Progress) -> None:
            scaled = start + (end - start) * progress.fraction
            more = {**details, **progress.details}
            self.on_progress(
                replace(progress, done=scaled, total=1.0, message=progress.message or message, details=more)
            )

        return replace(self, on_progress=report)

    def titled(self, title: str) -> RunContext:
        """Derive a context whose progress messages begin with a title."""
        tell = lambda progress: self.on_progress(replace(progress, message=f"{title}: {progress.message}"))
        return replace(self, on_progress=tell)

    def without_progress(self) -> RunContext:
        """Derive a context without progress reports, for a part whose caller reports them."""
        return replace(self, on_progress=lambda progress: None)

    def checkpoint_part(self, name: str) -> RunContext:
        """Derive a context whose checkpoint names begin with `name`."""
        return replace(self, checkpoints=self.checkpoints and self.checkpoints.part(name))
