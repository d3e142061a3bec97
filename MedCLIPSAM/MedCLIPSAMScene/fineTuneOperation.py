"""Fine-tune a text-image model from Slicer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .longRun import LongRun
from .waiting import Finished


@dataclass(frozen=True)
class FineTuneResult:
    """The result of a fine-tuning.

    Args:
        name: name of the model, which can be chosen now.
        folder, run: folders of the model and of the run, on the machine where the models run.
        before, after: top-1 retrieval on validation pairs, mean of both directions, by the base and by the model.
        chance: top-1 retrieval by chance.
        step, steps: step of the best weights, and number of steps that were run.
    """

    name: str
    folder: str
    run: str
    before: float
    after: float
    chance: float
    step: int
    steps: int


class FineTuneOperation:
    """Fine-tune a text-image model on image-caption pairs.

    Args:
        transport: see `LongRun`.
        ended: called when a run has ended, before its `finished`, because the files of a model may have changed.

    Attributes:
        task: the run; its `onProgress` gets the fields of `finetune.step_log.StepFigures` after every step. If only the
            heads are trained, it gets the fraction of the stage "encoding" before the first step.
    """

    def __init__(self, transport, ended: Callable[[], None] = lambda: None) -> None:
        self.task = LongRun(transport, self._readResult)
        self._ended = ended
        self._name = ""

    def run(self, captions: str, name: str, timeout: float | None = None, **named) -> FineTuneResult:
        """Fine-tune and wait for the result. See `start`, and `LongRun.wait` for the errors."""
        return self.task.wait(lambda done: self.start(captions, name, **named, finished=done), timeout)

    def start(
        self,
        captions: str,
        name: str,
        base: str = "biomedclip",
        images: str | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        modelsFolder: str | None = None,
        out: str | None = None,
        replace: bool = False,
        finished: Finished = lambda result, error: None,
    ) -> None:
        """Start to fine-tune a text-image model on image-caption pairs, or resume a stopped run.

        Args:
            captions: table of pairs on the machine where the models run; see docs/finetune.md.
            name: name of the new model.
            base: name of the model to start from.
            images: folder of the images; by default that of the table.
            settings: changes to `finetune.settings.FineTuneSettings`, by their names.
            out: folder of the run; by default a folder of that name in the user's data.
            replace: replace a model of that name from another run.
            finished: called once, with the result, or with the error.

        Raises:
            InputError, WorkerError: see `LongRun.start`.
        """

        def end(result, error) -> None:
            self._ended()
            finished(result, error)

        ask = lambda: self.task.client.finetune(
            captions,
            name,
            images=images,
            settings={"base": base, **(settings or {})},
            device=device,
            models_dir=modelsFolder,
            out=out,
            replace=replace,
        )
        self.task.start(ask, end)
        self._name = name

    def _readResult(self, fields: Mapping[str, Any]) -> FineTuneResult:
        mean = lambda figures: sum(figures[way]["top1"]["mean"] for way in ("image_to_text", "text_to_image")) / 2
        return FineTuneResult(
            self._name,
            fields["model"],
            fields["run"],
            mean(fields["before"]),
            mean(fields["after"]),
            fields["after"]["chance"],
            fields["step"],
            fields["steps"],
        )
