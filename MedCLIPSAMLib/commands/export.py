"""`medclipsam export` and `medclipsam strike`: pseudo-labels in bulk, and their review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import ExportFormat, Plane, Strategy
from ..counted import counted
from .json_output import print_json
from .notes import Notes
from .option_groups import ComputeOptions, ModelOptions, OptionalStages, SeriesOptions, TextOptions, option_groups
from .options import Anonymous, AsJson, Presence, SlicePlane, WindowRange
from .parsing import parse_window, quoted
from .progress import progress_bar, telling

if TYPE_CHECKING:
    from ..export.case_key import CaseKey
    from ..export.cases import Case
    from ..export.engines import Engine
    from ..export.job import ExportSettings
    from ..segmentation.settings import Settings


class EngineName(StrEnum):
    """Engine of an export."""

    local, ray = "local", "ray"


@dataclass(frozen=True)
class CaseOptions:
    """The images that become cases, and their prompts."""

    prompts: Annotated[
        Path | None,
        typer.Option(help='Prompts by label: JSON {"tumor": "brain tumor"}, a CSV, or lines of "label: prompt".'),
    ] = None
    include: Annotated[
        list[str],
        typer.Option(
            help="Take only images whose path or name fits, such as '*.dcm' or 'patient1/*'; repeat it.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    exclude: Annotated[
        list[str], typer.Option(help="Leave out images whose path or name fits; repeat it.", show_default=False)
    ] = field(default_factory=list)

    def find(self, inputs: Path, text: TextOptions, series: SeriesOptions, notes: Notes) -> list[Case]:
        """Find the cases, and print what is left out.

        Raises:
            InputError: prompts were given in two ways or not at all; or see `find_cases`.
        """
        from ..errors import InputError
        from ..export.cases import TABLES, find_cases
        from ..export.prompt_file import check_are_labels, read_prompts
        from ..tasks.prompts import parse_prompts

        if text.prompt and self.prompts:
            raise InputError("Both -p and --prompts were given.", "Give one of them.")
        if not text.prompt and not self.prompts and inputs.exists() and inputs.suffix.lower() not in TABLES:
            raise InputError("No prompt was given.", 'Say what to segment with -p "brain tumor" or --prompts FILE.')
        prompts = read_prompts(self.prompts) if self.prompts else parse_prompts(text.prompt)
        chosen = series.series, series.phase, self.include, self.exclude
        cases = find_cases(inputs, prompts, *chosen, text.negative, notes.say)
        if self.prompts:
            check_are_labels(prompts, [case.image for case in cases], self.prompts)
        return cases


@dataclass(frozen=True)
class DatasetOptions:
    """The output for each case, and filters."""

    form: Annotated[ExportFormat, typer.Option("--format", help="nnU-Net's raw dataset, or masks.")] = (
        ExportFormat.NNUNET
    )
    propagate: Annotated[
        Strategy, typer.Option(help="How masks of many slices are made, as in `medclipsam segment`.")
    ] = Strategy.MEMORY
    plane: SlicePlane = Plane.AXIAL
    window: WindowRange = None
    min_score: Annotated[float, typer.Option(help="Leave out finds with a lower score.")] = 0.0
    min_expected_dsc: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Leave out finds whose expected DSC is lower; for 2-D images and the shipped models."
        ),
    ] = 0.0
    min_ml: Annotated[
        float, typer.Option(help="Leave out smaller finds; in ml, or for 2-D images in thousands of pixels.")
    ] = 0.0
    max_ml: Annotated[
        float | None, typer.Option(help="Leave out larger finds; in the same units.", show_default=False)
    ] = None
    keep_empty: Annotated[
        bool,
        typer.Option(
            "--keep-empty",
            help="Keep images in which nothing was found, with an empty mask, but not those whose finds are left out.",
        ),
    ] = False

    def settings(self) -> ExportSettings:
        """Return the settings of the export."""
        from ..export.job import ExportSettings

        return ExportSettings(
            self.form,
            self.propagate,
            self.plane,
            parse_window(self.window),
            min_score=self.min_score,
            min_expected_dsc=self.min_expected_dsc,
            min_ml=self.min_ml,
            max_ml=float("inf") if self.max_ml is None else self.max_ml,
            keep_empty=self.keep_empty,
        )


@dataclass(frozen=True)
class EngineOptions:
    """The engine that processes the cases."""

    engine: Annotated[EngineName, typer.Option(help="This machine, or a Ray cluster.")] = EngineName.local
    workers: Annotated[int | None, typer.Option(min=1, help="Ray workers; by default one for each GPU.")] = None
    address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Address of the cluster; by default RAY_ADDRESS, or Ray on this machine."),
    ] = None

    def start(self, models: ModelOptions, settings: Settings) -> Engine:
        """Load the models here, or have a cluster load them.

        Raises:
            InputError: an option for a cluster was given without --engine ray; or see `load_segmenter`.
        """
        from ..errors import InputError

        if self.engine is EngineName.local:
            for option, value in (("--workers", self.workers), ("--ray-address", self.address)):
                if value is not None:
                    raise InputError(
                        f"{option} is for a Ray cluster, but the engine is this machine.", "Add --engine ray."
                    )
            from ..export.engines import LocalEngine

            return LocalEngine(models.load(settings))
        from ..export.ray_engine import RayEngine

        folder = models.models_dir.resolve() if models.models_dir else None
        return RayEngine(replace(models.choice(settings), models_dir=folder), self.workers, self.address)


@option_groups
def export(
    inputs: Annotated[
        Path,
        typer.Argument(
            metavar="INPUTS",
            help="Folder tree of images or DICOM series, or a CSV with image, prompt, label, negative, case.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The dataset: a new folder, or one to resume.", show_default=False)
    ],
    text: TextOptions,
    which: CaseOptions,
    series: SeriesOptions,
    dataset: DatasetOptions,
    models: ModelOptions,
    compute: ComputeOptions,
    engine: EngineOptions,
    stages: OptionalStages,
    presence: Presence = None,
    anonymous: Anonymous = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cases and their prompts, and do nothing else.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Process failed cases again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Segment a whole collection and write the masks as a dataset; the same command resumes a stopped run.

    Example: medclipsam export scans -p "tumor: brain tumor" -o Dataset101_BrainTumor
    """
    from ..export.case_key import CaseKey
    from ..export.export import check_request
    from ..export.export import export as run
    from ..segmentation.expected_dsc import require_predictor

    notes = Notes()
    cases = which.find(inputs, text, series, notes)
    settings = dataset.settings()
    key = None if anonymous is None else CaseKey(anonymous)
    check_request(cases, out, settings, key)
    if dry_run:
        _list_cases(cases, out, key, retry, notes, as_json)
        return
    defaults = models.default_settings()
    threshold = defaults.presence_threshold if presence is None else presence
    chosen = stages.apply(replace(defaults, presence_threshold=threshold))
    prompts = sorted({prompt for case in cases for prompt in case.prompts.values()})
    if settings.min_expected_dsc:
        require_predictor(models.model, models.sam, chosen, prompts, models.models_dir)
    running = engine.start(models, compute.apply(chosen))
    for note in running.notes_on(prompts):
        notes.say(note)
    try:
        done: list[str] = []
        with progress_bar("exporting", quiet=as_json, unit="count") as context:
            context = telling(context, lambda at: done.append(at.message) if "status" in at.details else None)
            counts = run(cases, running, out, settings, notes.of_run(context), retry, key)
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command continues with the next case.", err=True)
        raise
    _say_outcome(out, len(cases), len(done), counts, settings.keep_empty, notes, as_json)


def _list_cases(
    cases: Sequence[Case], out: Path, key: CaseKey | None, retry: bool, notes: Notes, as_json: bool
) -> None:
    """Print what the run would do: each case by its name in the dataset, and whether it would be processed."""
    from ..export.export import plan_cases
    from ..export.image_names import ImageNames
    from ..export.manifest import read_records

    if key is not None:
        numbers = key.known([(case.image, case.series) for case in cases])
        cases = [replace(case, name=number) for case, number in zip(cases, numbers)]
    records = read_records(out)
    cases, todo = plan_cases(cases, out, records, ImageNames(out, key is not None), retry)
    names = {case.name for case in todo}
    state = lambda name: "there" if name not in names else "again" if name in records else "new"
    if as_json:
        rows = [
            {"case": case.name, "image": str(case.image), "prompts": dict(case.prompts), "state": state(case.name)}
            for case in cases
        ]
        print_json({"cases": rows, "notes": notes.said})
        return
    words = {"new": "", "there": ", already in the dataset", "again": ", to be done again"}
    prompts = list(dict.fromkeys(tuple(case.prompts.items()) for case in cases))
    shown = lambda pairs: ", ".join(f'{label}: "{prompt}"' for label, prompt in pairs)
    if len(prompts) == 1:
        typer.echo(f"Prompts: {shown(prompts[0])}.")
    for case in cases:
        series = f" (series {case.series})" if case.series else ""
        own = f", {shown(case.prompts.items())}" if len(prompts) > 1 else ""
        typer.echo(f"{case.name}: {case.image}{series}{own}{words[state(case.name)]}")
    there = len(cases) - len(todo)
    known = f": {there} already there, {len(todo)} to do" if there else ""
    typer.echo(f"{counted(len(cases), 'case')}{known}; nothing was done.")


def _say_outcome(
    out: Path, count: int, done: int, counts: dict[str, int], keep_empty: bool, notes: Notes, as_json: bool
) -> None:
    """Print how many cases have each status, and which ones failed.

    Args:
        count: number of cases of this command.
        done: number of cases that it has segmented.
        counts: number of cases in the dataset, by status.
        keep_empty: whether empty cases are in the dataset.

    Raises:
        typer.Exit: always; with 1 if cases failed, else with 0.
    """
    from ..export.manifest import read_records
    from ..export.remarks import copies, failures, overlaid, unlike

    records = list(read_records(out).values())
    for line in overlaid(records):
        notes.say(f"{line} --format seg.nrrd keeps overlaps.")
    for line in (*unlike(records), *copies(records)):
        notes.say(line)
    for line in failures(records):
        typer.echo(f"failed: {line}", err=True)
    if as_json:
        print_json(counts | {"notes": notes.said})
    if counts.keys() == {"failed"}:
        typer.echo(
            f"All failed ({counted(counts['failed'], 'case')}). Fix the cause, and run them again with --retry.",
            err=True,
        )
        raise typer.Exit(1)
    if as_json:
        raise typer.Exit(int("failed" in counts))
    by_status = ", ".join(
        f"{counts[name]} {name}" for name in ("found", "filtered", "empty", "failed") if counts.get(name)
    )
    total, before = sum(counts.values()), f", {count - done} already there" if count > done else ""
    here = "" if done == total else f" done{before}; the dataset holds {total}"
    typer.echo(f"{counted(done, 'case')}{here}: {by_status}.")
    if not counts.get("found") and not (keep_empty and counts.get("empty")):
        typer.echo("The dataset holds no images. Try another prompt, a lower --presence or fewer filters.")
        raise typer.Exit(int("failed" in counts))
    strike_out = f"medclipsam strike {quoted(out)} struck.txt"
    typer.echo(f"Look through {out / 'report.html'}, strike out what is wrong, and run: {strike_out}")
    raise typer.Exit(int("failed" in counts))


def strike(
    dataset: Annotated[Path, typer.Argument(help="Folder that medclipsam export wrote.", show_default=False)],
    names: Annotated[
        Path,
        typer.Argument(
            help="The list that the report saved, one case per line, or a CSV with a column case.", show_default=False
        ),
    ],
) -> None:
    """Strike the cases of a list out of a dataset, and restore those that are no longer on it.

    Example: medclipsam strike Dataset101_BrainTumor struck.txt
    """
    from ..export.strike import read_list
    from ..export.strike import strike as run

    struck, restored = run(dataset, read_list(names))
    typer.echo(f"{counted(struck, 'case')} struck out, {restored} restored.")
