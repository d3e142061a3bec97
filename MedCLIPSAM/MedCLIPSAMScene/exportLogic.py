"""Pseudo-labels of a collection from Slicer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .longRun import Finished, LongRun


@dataclass(frozen=True)
class ExportResult:
    """What came of an export.

    Args:
        counts: cases by status: found, filtered, empty, failed.
        cases: how many there are.
        report: the page to look through them, on the machine where the models run.
    """

    counts: dict[str, int]
    cases: int
    report: str


class ExportLogic(LongRun):
    """Export; `onProgress` is given done, total, case, status and seconds_left after every case."""

    def exportPseudoLabels(self, inputs: str, prompts, out: str, timeout: float | None = None, **more) -> ExportResult:
        """Export and wait for it. See `startExport`, and `LongRun.wait` for the errors."""
        return self.wait(lambda done: self.startExport(inputs, prompts, out, **more, finished=done), timeout)

    def startExport(
        self,
        inputs: str,
        prompts: Mapping[str, str] | Sequence[str],
        out: str,
        export: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        negative: str | None = None,
        models: tuple[str, str, str, str | None] = ("demo", "demo", "auto", None),
        retry: bool = False,
        finished: Finished = lambda result, error: None,
    ) -> None:
        """Start to segment every image of a collection and write a dataset; a run that was stopped is gone on with.

        Args:
            inputs: folder tree or table on the machine where the models run; see docs/export.md.
            prompts: by label, or prompts that are their own labels; for images without one in the table.
            out: folder of the dataset.
            export: changes to `weak.export.ExportSettings`, by their names.
            settings: changes to the model's defaults, by the names in `zeroshot.segmenter.Settings`.
            negative: what not to take.
            models: (clip, sam, device, folder of models or None).
            retry: do the cases again that failed.
            finished: called once: the result, or why there is none.

        Raises:
            InputError, WorkerError: see `LongRun.begin`.
        """
        named = dict(prompts) if isinstance(prompts, Mapping) else {prompt: prompt for prompt in prompts}
        clip, sam, device, folder = models
        ask = lambda: self.client.export(
            inputs, named, out, export, settings, negative, clip, sam, device, folder, retry
        )
        self.begin(ask, finished)

    def result(self, fields: Mapping[str, Any]) -> ExportResult:
        """See `ExportResult`."""
        return ExportResult(dict(fields["counts"]), fields["cases"], fields["report"])
