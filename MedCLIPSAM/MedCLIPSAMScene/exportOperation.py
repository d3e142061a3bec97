"""Export pseudo-labels of a collection from Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from MedCLIPSAMLib.choices import DEFAULT_MODEL, DEFAULT_SAM

from .longRun import LongRun
from .requestedSlices import checkPrompts
from .waiting import Finished


@dataclass(frozen=True)
class ExportResult:
    """The result of an export.

    Args:
        counts: cases by status: found, filtered, empty, failed.
        cases: number of cases.
        report: path of the page for reviewing them, on the machine where the models run.
    """

    counts: dict[str, int]
    cases: int
    report: str


class ExportOperation:
    """Segment a collection and write a dataset.

    Args:
        transport: see `LongRun`.

    Attributes:
        task: the run; its `onProgress` is given done, total, case, status and seconds_left after every case.
    """

    def __init__(self, transport) -> None:
        self.task = LongRun(transport, _readResult)

    def run(self, inputs: str, prompts, out: str, timeout: float | None = None, **named) -> ExportResult:
        """Export and wait for the result. See `start`, and `LongRun.wait` for the errors."""
        return self.task.wait(lambda done: self.start(inputs, prompts, out, **named, finished=done), timeout)

    def start(
        self,
        inputs: str,
        prompts: Mapping[str, str] | str | Sequence[str],
        out: str,
        export: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        negative: str | None = None,
        models: tuple[str, str, str, str | None] = (DEFAULT_MODEL, DEFAULT_SAM, "auto", None),
        retry: bool = False,
        anonymous: str | None = None,
        finished: Finished = lambda result, error: None,
    ) -> None:
        """Start to segment every image of a collection and write a dataset, or resume a stopped run.

        Args:
            inputs: folder tree or table on the machine where the models run; see docs/export.md.
            prompts: by label, or prompts that are also their labels; used for images without one in the table.
            out: folder of the dataset.
            export: changes to `export.job.ExportSettings`, by their names.
            settings: changes to the model's defaults, by the names in `segmentation.settings.Settings`.
            negative: a prompt for what to exclude.
            models: (clip, sam, device, folder of models or None).
            retry: process failed cases again.
            anonymous: path of the key from case numbers to images, on that machine; None names cases after their files.
            finished: called once, with the result, or with the error.

        Raises:
            PromptError: a prompt was given twice. InputError, WorkerError: see `LongRun.start`.
        """
        if isinstance(prompts, Mapping):
            named = dict(prompts)
        else:  # without prompts, the table has them
            named = {prompt: prompt for prompt in checkPrompts(prompts)} if prompts else {}
        clip, sam, device, folder = models
        ask = lambda: self.task.client.export(
            inputs, named, out, export, settings, negative, clip, sam, device, folder, retry, anonymous
        )
        self.task.start(ask, finished)


def _readResult(fields: Mapping[str, Any]) -> ExportResult:
    return ExportResult(dict(fields["counts"]), fields["cases"], fields["report"])
