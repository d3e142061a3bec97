"""Fine-tuning from Slicer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .longRun import Finished, LongRun


@dataclass(frozen=True)
class TrainingResult:
    """What came of a fine-tuning.

    Args:
        name: of the model, which can be chosen from now on.
        folder, run: the model's folder and that of the run, on the machine where the models run.
        before, after: top-1 retrieval on validation pairs, mean of both directions, of the base and of the model.
        chance: what guessing would retrieve.
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


class TrainLogic(LongRun):
    """Fine-tuning; `onProgress` is given the fields of `finetune.train.Progress` after every step."""

    def fineTune(self, captions: str, name: str, timeout: float | None = None, **more) -> TrainingResult:
        """Fine-tune and wait for it. See `startFineTune`, and `LongRun.wait` for the errors."""
        return self.wait(lambda done: self.startFineTune(captions, name, **more, finished=done), timeout)

    def startFineTune(
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
        """Start to fine-tune a text-image model on image-caption pairs; a run that was stopped is gone on from.

        Args:
            captions: table of pairs on the machine where the models run; see docs/finetune.md.
            name: of the new model.
            base: the model to begin from.
            images: folder of the images; the table's own when None.
            settings: changes to `finetune.settings.FineTuneSettings`, by their names.
            out: folder of the run; one for the name in the user's data when None.
            replace: a model of that name of another run.
            finished: called once: the result, or why there is none.

        Raises:
            InputError, WorkerError: see `LongRun.begin`.
        """
        ask = lambda: self.client.finetune(
            captions,
            name,
            images=images,
            settings={"base": base, **(settings or {})},
            device=device,
            models_dir=modelsFolder,
            out=out,
            replace=replace,
        )
        self.begin(ask, finished)
        self._name = name

    def result(self, fields: Mapping[str, Any]) -> TrainingResult:
        """See `TrainingResult`."""
        mean = lambda figures: sum(figures[way]["top1"]["mean"] for way in ("image_to_text", "text_to_image")) / 2
        return TrainingResult(
            self._name,
            fields["model"],
            fields["run"],
            mean(fields["before"]),
            mean(fields["after"]),
            fields["after"]["chance"],
            fields["step"],
            fields["steps"],
        )
