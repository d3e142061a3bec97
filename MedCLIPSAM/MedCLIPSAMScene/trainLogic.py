"""Fine-tuning from Slicer: a worker of its own trains, so that prompts are answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request

from .strings import _


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


Finished = Callable[["TrainingResult | None", "MedCLIPSAMError | None"], None]


class TrainLogic:
    """One fine-tuning at a time.

    Args:
        transport: a `worker.client.Transport` with `run_until(done, timeout)`.

    Attributes:
        onProgress: called with the fields of `finetune.train.Progress` as a dict after every step.
        onNotice: called with what is told of the data.
    """

    def __init__(self, transport) -> None:
        self.transport = transport
        self.client = WorkerClient(transport, self._receive)
        self.onProgress: Callable[[Mapping[str, Any]], None] = lambda progress: None
        self.onNotice: Callable[[str], None] = lambda text: None
        self._request: Request | None = None
        self._name = ""
        self._finished: Finished = lambda result, error: None

    @property
    def running(self) -> bool:
        """Whether a fine-tuning is not finished."""
        return self._request is not None

    def fineTune(self, captions: str, name: str, timeout: float | None = None, **more) -> TrainingResult:
        """Fine-tune and wait for it; Slicer's events run meanwhile. See `startFineTune`.

        Raises:
            MedCLIPSAMError: why there is no model; what was reached is kept and gone on from. TimeoutError.
        """
        ended: list = []
        self.startFineTune(captions, name, **more, finished=lambda result, error: ended.append((result, error)))
        try:
            self.transport.run_until(lambda: bool(ended), timeout)
        except TimeoutError:
            self.cancel()
            raise
        result, error = ended[0]
        if error is not None:
            raise error
        return result

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
            InputError: another fine-tuning is not finished. WorkerError: the worker cannot be started.
        """
        if self.running:
            raise InputError(_("Another fine-tuning is not finished."), _("Wait for it, or stop it."))
        self._name, self._finished = name, finished
        self._request = self.client.finetune(
            captions,
            name,
            images=images,
            settings={"base": base, **(settings or {})},
            device=device,
            models_dir=modelsFolder,
            out=out,
            replace=replace,
        )

    def cancel(self) -> None:
        """Stop; a checkpoint is kept."""
        if self._request is not None:
            self.client.cancel(self._request)

    def close(self) -> None:
        """End the worker."""
        self.client.shutdown()

    def _receive(self, request: Request | None, message: Message) -> None:
        if request is None or request is not self._request:
            return
        if message.type == "progress":
            self.onProgress(message.fields)
        elif message.type == "notice":
            self.onNotice(str(message.fields["message"]))
        elif request.done:
            self._request = None
            error = request.error
            self._finished(None if error else self._result(message.fields), error)

    def _result(self, fields: Mapping[str, Any]) -> TrainingResult:
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
