"""`medclipsam export` and `medclipsam strike`: pseudo-labels by the thousand, and their review."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import DEFAULT_MODEL, DEFAULT_SAM, ExportFormat, Plane, Precision, Strategy, VoteMethod
from .options import (
    AsJson,
    AtOnce,
    Capture,
    DeviceName,
    ModelName,
    ModelsDir,
    Negative,
    Phase,
    PrecisionName,
    Presence,
    Prompts,
    SamName,
    SeriesName,
    SlicePlane,
    Vote,
    WindowRange,
)
from .parsing import parse_window
from .progress import progress_bar

if TYPE_CHECKING:
    from ..export.cases import Case


class EngineName(StrEnum):
    local, ray = "local", "ray"


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
        Path,
        typer.Option("-o", "--out", help="The dataset: a new folder, or one to go on with.", show_default=False),
    ],
    prompt: Prompts = [],
    prompts: Annotated[
        Path | None, typer.Option(help='Prompts by label: JSON {"tumor": "brain tumor"}, or "label: prompt" a line.')
    ] = None,
    include: Annotated[
        list[str],
        typer.Option(
            help="Take only images whose path or name fits, such as '*.dcm' or 'patient1/*'; repeat it.",
            show_default=False,
        ),
    ] = [],
    exclude: Annotated[
        list[str], typer.Option(help="Leave out images whose path or name fits; repeat it.", show_default=False)
    ] = [],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cases, and do nothing.")] = False,
    series: SeriesName = None,
    phase: Phase = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="nnU-Net's raw dataset, or masks.")
    ] = ExportFormat.NNUNET,
    negative: Negative = None,
    propagate: Annotated[
        Strategy, typer.Option(help="Over many slices, as in `medclipsam segment`.")
    ] = Strategy.MEMORY,
    plane: SlicePlane = Plane.AXIAL,
    window: WindowRange = None,
    presence: Presence = None,
    vote: Vote = VoteMethod.NONE,
    least_score: Annotated[float, typer.Option(help="Leave out finds with a lower score.")] = 0.0,
    least_ml: Annotated[float, typer.Option(help="Leave out finds that are smaller (pictures: 1000 pixels).")] = 0.0,
    most_ml: Annotated[float | None, typer.Option(help="Leave out finds that are larger.", show_default=False)] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Keep images in which nothing was found, with an empty mask.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Do cases again that failed.")] = False,
    model: ModelName = DEFAULT_MODEL,
    sam: SamName = DEFAULT_SAM,
    models_dir: ModelsDir = None,
    device: DeviceName = "auto",
    precision: PrecisionName = Precision.AUTO,
    at_once: AtOnce = 0,
    capture: Capture = True,
    engine: Annotated[EngineName, typer.Option(help="This machine, or a Ray cluster.")] = EngineName.local,
    workers: Annotated[int | None, typer.Option(min=1, help="Of Ray; by default one for each GPU.")] = None,
    address: Annotated[
        str | None, typer.Option("--ray-address", help="Of the cluster; RAY_ADDRESS, or Ray on this machine.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Segment a whole collection and write the masks as a dataset; the same command goes on with a stopped run.

    Example: medclipsam export scans -p "tumor: brain tumor" -o Dataset101_BrainTumor
    """
    from dataclasses import replace

    from ..errors import InputError
    from ..export.cases import find_cases, read_prompts
    from ..export.dataset import check_folder, check_slices
    from ..export.engines import Engine, LocalEngine
    from ..export.export import export as run
    from ..export.job import ExportSettings
    from ..export.known import failures
    from ..segmentation.segmenter import load_segmenter
    from ..segmentation.settings import default_settings
    from ..tasks.prompts import parse_prompts

    if prompt and prompts:
        raise InputError("Both -p and --prompts were given.", "Give one of them.")
    asked = read_prompts(prompts) if prompts else parse_prompts(prompt)
    found = find_cases(inputs, asked, series, phase, include, exclude)
    cases = [replace(case, negative=case.negative or negative) for case in found]
    settings = ExportSettings(
        form,
        propagate,
        plane,
        parse_window(window),
        least_score,
        least_ml,
        float("inf") if most_ml is None else most_ml,
        keep_empty,
    )
    check_folder(out, settings.form)
    check_slices(settings.form, cases)
    if dry_run:
        _list_cases(cases, as_json)
        return
    usual = default_settings(model, models_dir)
    chosen = replace(
        usual,
        presence_threshold=usual.presence_threshold if presence is None else presence,
        vote=replace(usual.vote, method=vote),
        precision=precision,
        at_once=at_once,
        capture=capture,
    )
    if engine is EngineName.ray:
        from ..export.ray_engine import Models, RayEngine

        where = models_dir.resolve() if models_dir else None
        working: Engine = RayEngine(Models(model, sam, device, where, chosen), workers, address)
    else:
        working = LocalEngine(load_segmenter(model, sam, device, models_dir, chosen))
    try:
        with progress_bar("exporting", quiet=as_json, unit="count") as context:
            counts = run(cases, working, out, settings, context, retry)
    except KeyboardInterrupt:
        typer.echo("Stopped; the same command goes on with the next case.", err=True)
        raise
    for line in failures(out):
        typer.echo(f"failed: {line}", err=True)
    if as_json:
        print(json.dumps(counts))
    if counts.keys() == {"failed"}:
        typer.echo(f"All {counts['failed']} cases failed; once that is mended, do them again by --retry.", err=True)
        raise typer.Exit(1)
    if as_json:
        return
    said = ", ".join(f"{counts[name]} {name}" for name in ("found", "filtered", "empty", "failed") if counts.get(name))
    typer.echo(f"{len(cases)} case{'s' if len(cases) != 1 else ''}: {said}.")
    typer.echo(
        f"Look through {out / 'report.html'}, strike out what is wrong, and run: medclipsam strike {out} struck.txt"
    )


def _list_cases(cases: Sequence[Case], as_json: bool) -> None:
    if as_json:
        rows = [{"case": each.name, "image": str(each.image), "prompts": dict(each.prompts)} for each in cases]
        print(json.dumps({"cases": rows}, indent=1))
        return
    for case in cases:
        which = f" (series {case.series})" if case.series else ""
        typer.echo(f"{case.name}: {case.image}{which}")
    typer.echo(f"{len(cases)} case{'s' if len(cases) != 1 else ''}; nothing was done.")


def strike(
    dataset: Annotated[Path, typer.Argument(help="Folder that medclipsam export wrote.", show_default=False)],
    names: Annotated[Path, typer.Argument(help="The list that the report saved, a case a line.", show_default=False)],
) -> None:
    """Take the cases of a list out of a dataset, and put back those that are no longer on it.

    Example: medclipsam strike Dataset101_BrainTumor struck.txt
    """
    from ..errors import InputError
    from ..export.strike import strike as run

    try:
        listed = names.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The list '{names}' cannot be read: {error}.", "Give the file that the report saved."
        ) from error
    out, back = run(dataset, listed)
    typer.echo(f"{out} cases struck out, {back} put back.")
