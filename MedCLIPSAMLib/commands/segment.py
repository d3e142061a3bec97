"""`medclipsam segment`: a text prompt becomes masks of image files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import MaskFormat, OutputLayout, Strategy, VoteMethod, has_vote
from .engine import import_engine
from .option_groups import (
    ComputeOptions,
    MaskOptions,
    ModelOptions,
    OptionalStages,
    SeriesOptions,
    SliceOptions,
    TextOptions,
    option_groups,
)
from .options import Anonymous, AsJson, Overwrite, UseWorker
from .progress import progress_bar
from .segment_report import SegmentReport
from .session import model_cache

if TYPE_CHECKING:
    from ..segmentation.report import Report
    from ..segmentation.segmenter import TextSegmenter
    from ..segmentation.settings import Settings
    from ..tasks.places import Outputs
    from ..tasks.segment_files import Task

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="NIfTI, NRRD, MHA, PNG, JPEG, or DICOM: files, folders (all their images if -o is a folder), zip files.",
        show_default=False,
    ),
]


def _out(text: str) -> Path:
    """Parse -o; a slash at the end denotes a folder."""
    from ..errors import OutputError

    path = Path(text)
    if text.endswith(("/", os.sep)) and path.suffix and not path.is_dir():
        raise OutputError(
            f"'{text}' is not an existing folder, but has a suffix like a file.",
            "Create it first, or leave out the dot.",
        )
    return path


Out = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        parser=_out,
        metavar="PATH",
        help="A file (.seg.nrrd, .nii.gz, .nii, .nrrd, .mha, .png; .dcm is DICOM SEG), or a folder: a file per image.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class MarkOptions:
    """Boxes and points to outline, instead of a text prompt."""

    box: Annotated[
        list[str],
        typer.Option(
            "--box",
            help="x0,y0,x1,y1: outline what is in this box; the prompt is then only its label; repeat it for several "
            "objects. Indices of the file from 0, the last included; in volumes i0,j0,k0,i1,j1,k1, or four numbers "
            "with --slice.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    point: Annotated[
        list[str],
        typer.Option(
            "--point",
            help="x,y or i,j,k: outline what is there, alone or with one --box; ',-' after it means 'not this'.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    roi: Annotated[
        str | None,
        typer.Option(
            "--roi",
            help="Look only at x0,y0,x1,y1 or i0,j0,k0,i1,j1,k1, as if it were the whole image; alone it is a box.",
            show_default=False,
        ),
    ] = None

    def task(self, text: TextOptions, slices: SliceOptions, form: MaskFormat) -> Task:
        """Return the task for every image.

        Raises:
            PromptError: there is neither a prompt nor a box, point or region.
        """
        from ..errors import PromptError
        from ..tasks.marks import Marks, parse_box, parse_point
        from ..tasks.prompts import parse_prompts
        from ..tasks.segment_files import Task

        marks = Marks(tuple(map(parse_box, self.box)), tuple(map(parse_point, self.point)))
        roi = None if self.roi is None else parse_box(self.roi, "--roi")
        if roi is not None and not text.prompt and not marks:
            marks, roi = Marks((roi,)), None  # without a prompt the region is outlined as a box
        if not text.prompt and not marks:
            raise PromptError("No prompt was given.", 'Say what to segment, such as -p "brain tumor".')
        labels = parse_prompts(text.prompt or ["object"])
        return Task(labels, slices.request(tuple(labels.values()), text.negative), form, marks, roi)


def _refuse_stray_words(images: Sequence[Path], prompts: Sequence[str]) -> None:
    """Refuse words among the images that are not files, such as those of a prompt without quotes or without -p."""
    from ..errors import PromptError

    stray = [str(path) for path in images if not path.suffix and not os.path.exists(path)]
    if stray and (len(stray) < len(images) or not prompts):
        words = re.sub("[\u201c\u201d\u201e]", "", " ".join([*prompts[-1:], *stray]))
        remedy = f'If it belongs to the prompt, put the prompt in straight quotes: -p "{words}".'
        if stray[0][0] in "\u2013\u2014":
            remedy = "Options begin with a hyphen (-), not with a dash."
        raise PromptError(f"There is no file or folder '{stray[0]}'.", remedy)


@dataclass(frozen=True)
class ReportOptions:
    """A report whose findings are segmented, instead of prompts."""

    report: Annotated[
        Path | None,
        typer.Option(
            help="Text file with a paragraph of a report, in English: each finding that it says is present is "
            "segmented; a note says what was left out, and why.",
            show_default=False,
        ),
    ] = None

    def read(self, text: TextOptions, marks: MarkOptions) -> Report | None:
        """Read the given report.

        Raises:
            InputError: prompts or marks were also given; or see `read_report`. PromptError: see `read_report`.
        """
        from ..errors import InputError
        from ..tasks.report_file import read_report

        if self.report is None:
            return None
        if text.prompt:
            raise InputError("Both -p and --report were given.", "Give one of them.")
        if marks.box or marks.point:
            raise InputError("Both a report and boxes or points were given.", "Give one of them.")
        return read_report(self.report)


@dataclass(frozen=True)
class OutputOptions:
    """Formats, and outputs besides the masks."""

    form: Annotated[
        MaskFormat | None,
        typer.Option("--format", help="Format of the masks in a folder, or 'rtstruct' for .dcm. [default: seg.nrrd]"),
    ] = None
    layout: Annotated[
        OutputLayout, typer.Option("--output-layout", help="One file for all labels, or one for each.")
    ] = OutputLayout.ONE_FILE
    saliency: Annotated[
        Path | None,
        typer.Option(help="Also write the saliency map of the first prompt, .nii.gz or .nrrd; a folder if -o is one."),
    ] = None
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            help="With --vote, also write where the masks disagree (the largest over all labels), .nii.gz or .nrrd; a "
            "folder if -o is one."
        ),
    ] = None
    overlay: Annotated[
        Path | None, typer.Option(help="Also write the best slice with the masks, .png; a folder if -o is one.")
    ] = None
    montage: Annotated[
        Path | None,
        typer.Option(help="Also write the slices with the masks side by side, .png; a folder if -o is one."),
    ] = None

    def outputs(self, out: Path) -> Outputs:
        """Return the paths of the outputs."""
        from ..tasks.places import MAPS, Outputs

        requested = {kind: getattr(self, kind) for kind in MAPS}
        return Outputs(out, self.form, self.layout, {kind: path for kind, path in requested.items() if path})


def check_vote(settings: Settings, output: OutputOptions, task: Task) -> None:
    """Refuse a vote or its uncertainty if the other options do not allow it.

    Raises:
        InputError: there would be no vote or no uncertainty.
    """
    from ..errors import InputError

    votes = settings.vote.method != VoteMethod.NONE
    if output.uncertainty is not None and not votes:
        raise InputError("--uncertainty needs a vote, but there is none.", "Add --vote mean.")
    if votes and not has_vote(settings.vote.method, settings.prompts.kind, settings.vote.several):
        raise InputError(
            "With points alone SAM 2 gives one mask, so there is nothing to vote on.",
            "Choose --prompts boxes, or add --vote-masks.",
        )
    if votes and task.marks:
        raise InputError("Boxes and points are outlined by one mask, without a vote.", "Leave out --vote.")
    if output.uncertainty is not None and task.request.strategy == Strategy.PLANES:
        raise InputError("--propagate planes gives no uncertainty.", "Choose another --propagate.")


@option_groups
def segment(
    context: typer.Context,
    images: Images,
    out: Out,
    text: TextOptions,
    written: ReportOptions,
    marks: MarkOptions,
    series: SeriesOptions,
    models: ModelOptions,
    slices: SliceOptions,
    output: OutputOptions,
    mask: MaskOptions,
    stages: OptionalStages,
    compute: ComputeOptions,
    statistics: Annotated[bool, typer.Option("--statistics", help="Print the size of each segment.")] = False,
    anonymous: Anonymous = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print the device, precision and batch size.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    worker: UseWorker = True,
) -> None:
    """Segment what each prompt names in images, and write the masks on the images' own grids.

    Example: medclipsam segment head.nii.gz -p "tumor: brain tumor" --all -o tumor.seg.nrrd
    """
    import_engine()
    from ..export.case_key import CaseKey
    from ..tasks.batch import prepare
    from ..tasks.segment_files import FileSegmenter
    from ..tasks.segmented import Segmented

    outputs = output.outputs(out)
    read = written.read(text, marks)
    if read:
        text = replace(text, prompt=read.prompts)
    if not outputs.is_folder or not text.prompt:
        _refuse_stray_words(images, text.prompt)
    task = marks.task(text, slices, outputs.check())
    key = None if anonymous is None else CaseKey(anonymous)
    report = SegmentReport(outputs, models, statistics, as_json)
    choice = series.series, series.phase
    batch = prepare(images, outputs, list(task.labels), overwrite, *choice, key, report.notes.say)
    settings = compute.apply(stages.apply(mask.apply(models.default_settings())))
    check_vote(settings, output, task)
    if read:
        report.say_read(read)

    def load() -> TextSegmenter:
        segmenter = models.load(settings, model_cache(context))
        if verbose:
            report.say_choices(segmenter)
        return segmenter

    about = {"models": [models.model, models.sam], "settings": settings.deciding(), "layout": output.layout}
    with ExitStack() as locks:
        batch.claim({**task.describe(), **about}, locks)
        todo, report.finished = batch.split()
        report.say_exchanged(batch.exchanged())
        segmenter = FileSegmenter(task, load, batch.record_left_out)
        try:
            for number, (image, places) in enumerate(todo, 1):
                title = f"{number} of {len(todo)}, {image.name}" if outputs.is_folder else ""
                source = batch.describe_source(image, places)
                is_new = not any(path.exists() for path in places.masks.values())
                if is_new:  # before the masks, as a killed run might leave them without a record
                    batch.record_source(image, source)
                with progress_bar(title or "loading", quiet=as_json) as run_context:
                    outcome = segmenter.segment(image, places, run_context.titled(title) if title else run_context)
                if not is_new and isinstance(outcome, Segmented):  # after the masks, which have only now been replaced
                    batch.record_source(image, source)
                report.add(image, outcome)
        except KeyboardInterrupt:
            report.say_stopped(batch.unfinished_steps)
            raise
    report.finish()
