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
        name: of the model, which can be chosen now.
        folder, run: the model's folder and that of the run, on the machine where the models run.
        before, after: top-1 retrieval on validation pairs, mean of both directions, of the base and of the model.
        chance: top-1 retrieval of guessing.
        step, steps: of the best weights, and how many were done.
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
        ended: called when a run has ended, before its `finished`: the files of a model may be others now.

    Attributes:
        task: the run; its `onProgress` gets the fields of `finetune.step_log.StepFigures` after every step, and before
            them, in the stage "encoding" of a training of the heads alone, the fraction.
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
        """Start to fine-tune a text-image model on image-caption pairs; a run that was stopped resumes.

        Args:
            captions: table of pairs on the machine where the models run; see docs/finetune.md.
            name: of the new model.
            base: the model to begin from.
            images: folder of the images; the table's own when None.
            settings: changes to `finetune.settings.FineTuneSettings`, by their names.
            out: folder of the run; one for the name in the user's data when None.
            replace: replace a model of that name from another run.
            finished: called once: the result, or why there is none.

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
