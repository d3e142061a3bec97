"""The output of `medclipsam segment`: a line for each image and a summary, or one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..counted import counted
from ..errors import MedCLIPSAMError
from .json_output import print_json
from .notes import Notes
from .option_groups import ModelOptions
from .table import figures_table, print_table

if TYPE_CHECKING:
    from ..segmentation.report import LeftOut, Report
    from ..segmentation.segmenter import TextSegmenter
    from ..tasks.inputs import Input
    from ..tasks.places import Outputs, Places
    from ..tasks.segment_files import Failed
    from ..tasks.segmented import Segmented
    from ..volumes.statistics import SegmentStatistics


class SegmentReport:
    """Prints the outcome of each image when it is done, and everything else to standard error.

    Args:
        outputs: the requested outputs: one file, or a folder.
        models: models of the command.
        statistics: also print the sizes of the segments.
        as_json: print only one JSON object at the end.

    Attributes:
        notes: notes on the run.
        finished: images that the same command has finished before.
    """

    def __init__(self, outputs: Outputs, models: ModelOptions, statistics: bool, as_json: bool) -> None:
        self._outputs, self._models, self._statistics, self._as_json = outputs, models, statistics, as_json
        self._reports: list[dict[str, Any]] = []
        self._measured: list[tuple[str, SegmentStatistics]] = []
        self._failed: list[Failed] = []
        self._read: dict[str, Any] = {}
        self._said_left_out = False
        self._exchanged: list[str] = []
        self.notes = Notes()
        self.finished: list[tuple[Input, Places]] = []

    def say_read(self, report: Report) -> None:
        """Print the notes on a radiologist's report, and keep its findings for the JSON."""
        from dataclasses import asdict

        self._read = {"report": asdict(report)}
        if not self._as_json:
            for note in report.notes:
                typer.echo(f"note: {note}", err=True)

    def add(self, image: Input, outcome: Segmented | Failed) -> None:
        """Print the outcome of one image.

        Raises:
            MedCLIPSAMError: the image failed, and it is the only one.
        """
        from ..models.store import experience
        from ..tasks.segment_files import Failed

        if isinstance(outcome, Failed):
            self._fail(image, outcome)
            return
        known = experience([(self._models.model, "clip"), (self._models.sam, "sam")], self._models.models_dir)
        notes = [image.hide_names(note) for note in outcome.notes]
        self._say_left_out(outcome.left_out)
        said = [*notes, *(part.note for part in outcome.left_out)]
        report = outcome.report(self._statistics) | {"input": image.shown, "notes": said, "models": known}
        self._reports.append(report)
        if self._statistics:
            self._measured += [(outcome.name, row) for row in outcome.statistics]
        if not self._as_json:
            title = f"{image.name}: " if self._outputs.is_folder else ""
            for note in notes:
                typer.echo(f"note: {title}{note}", err=True)
            for line in outcome.lines():
                typer.echo(f"{title}{line}")

    def say_choices(self, segmenter: TextSegmenter) -> None:
        """Print the device, precision and batch size."""
        typer.echo(segmenter.describe_device(), err=True)

    def say_exchanged(self, images: Sequence[Input]) -> None:
        """Print which masks are kept although they were made from other files."""
        self._exchanged = [image.shown for image in images]
        for image in images:
            typer.echo(
                f"note: {image.name}: the mask in the folder is kept, but was made from other files than the image has "
                "now. Remove it to have it made again; --overwrite replaces all masks.",
                err=True,
            )

    def say_stopped(self, steps: int) -> None:
        """Print how to resume after Ctrl+C.

        Args:
            steps: stored steps of an unfinished volume.
        """
        if steps:
            typer.echo(f"Stopped after {counted(steps, 'step')}; the same command resumes from there.", err=True)
        elif self._outputs.is_folder:
            typer.echo("Stopped; the same command continues with the next image.", err=True)
        else:
            typer.echo("Stopped; nothing was written.", err=True)

    def finish(self) -> None:
        """Print the summary.

        Raises:
            typer.Exit: with 1 if images failed.
        """
        if self._as_json:
            self._print_json()
        else:
            self._print_summary()
        if self._failed:
            raise typer.Exit(1)

    def _say_left_out(self, left_out: Sequence[LeftOut]) -> None:
        """Print once which findings the model cannot process, and list them in the JSON as left out of the report."""
        from dataclasses import asdict

        if not left_out or self._said_left_out:
            return
        self._said_left_out = True
        texts, report = {part.text for part in left_out}, self._read["report"]
        report["findings"] = [finding for finding in report["findings"] if finding["prompt"] not in texts]
        report["left_out"] = [*report["left_out"], *map(asdict, left_out)]
        for part in () if self._as_json else left_out:
            typer.echo(f"note: {part.note}", err=True)

    def _fail(self, image: Input, failed: Failed) -> None:
        if self._outputs.is_folder:
            self._failed.append(failed)
            typer.echo(failed.line, err=True)
            return
        if image.holds_images:
            remedy = f"{failed.error.remedy} For all images of a folder, give -o a folder too."
            raise MedCLIPSAMError(failed.error.problem, remedy.strip())
        raise failed.error

    def _print_json(self) -> None:
        if not self._outputs.is_folder:
            print_json(self._reports[0] | self._read)
            return
        before = [
            {"input": image.shown, "outputs": [str(path) for path in places.files]} for image, places in self.finished
        ]
        failures = [failed.report() for failed in self._failed]
        summary = {"folder": str(self._outputs.out), "images": self._reports, "kept": before, "failed": failures}
        summary |= {"exchanged": self._exchanged, "notes": self.notes.said}
        summary |= self._read
        print_json(summary)

    def _print_summary(self) -> None:
        from ..models.store import find

        used = find(self._models.model, "clip", self._models.models_dir)
        if self._reports and used.shipped:
            typer.echo(
                f"note: '{self._models.model}' knows only {used.kinds}; on other images it is worse or wrong.", err=True
            )
        if self._statistics:
            _print_statistics(self._measured)
        if self._outputs.is_folder:
            before = f", {len(self.finished)} already there" if self.finished else ""
            failed = f", {len(self._failed)} failed" if self._failed else ""
            written = f"{len(self._reports)} written to {self._outputs.out}{before}{failed}"
        else:
            beside = (str(path) for path in self._outputs.maps.values() if path.exists())
            written = f"Written: {', '.join([*self._reports[0]['outputs'], *beside])}"
        typer.echo(f"{written}. For research, not for diagnosis.")


def _print_statistics(measured: list[tuple[str, SegmentStatistics]]) -> None:
    """Print the sizes of the segments as a table."""
    first = 0 if len({name for name, _ in measured}) > 1 else 1  # of one image, without its name
    rows = [(name, row.segment, str(row.voxels), str(row.slices), row.size)[first:] for name, row in measured]
    print_table(figures_table(None, ("image", "segment", "voxels", "slices", "size")[first:], rows, words=2 - first))
    if any(row.ml is None and row.mm2 is None for _, row in measured):
        typer.echo("A size is unknown if the image does not give the size of its pixels.")
