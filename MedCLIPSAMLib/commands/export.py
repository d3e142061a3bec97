"""`medclipsam export` and `medclipsam strike`: pseudo-labels by the thousand, and their review."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..choices import ExportFormat, Plane, Precision, Strategy
from .options import AtOnce, Capture, Phase, SeriesName
from .progress import progress_bar
from .segment import parse_window


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
    prompt: Annotated[
        list[str], typer.Option("-p", "--prompt", help="What to segment in every image; repeat it.", show_default=False)
    ] = [],
    prompts: Annotated[
        Path | None, typer.Option(help='Prompts by label: JSON {"tumor": "brain tumor"}, or "label: prompt" a line.')
    ] = None,
    series: SeriesName = None,
    phase: Phase = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="nnU-Net's raw dataset, or masks.")
    ] = ExportFormat.NNUNET,
    negative: Annotated[str | None, typer.Option(help="What not to take.")] = None,
    propagate: Annotated[
        Strategy, typer.Option(help="Over many slices, as in `medclipsam segment`.")
    ] = Strategy.MEMORY,
    plane: Annotated[Plane, typer.Option(help="Direction of the slices.")] = Plane.AXIAL,
    window: Annotated[str | None, typer.Option(help="Display window: a preset such as 'lung', or LOW:HIGH.")] = None,
    presence: Annotated[float, typer.Option(help="Least presence for a find.")] = 0.5,
    least_score: Annotated[float, typer.Option(help="Leave out finds with a lower score.")] = 0.0,
    least_ml: Annotated[float, typer.Option(help="Leave out finds that are smaller (pictures: 1000 pixels).")] = 0.0,
    most_ml: Annotated[float | None, typer.Option(help="Leave out finds that are larger.", show_default=False)] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Keep images in which nothing was found, with an empty mask.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Do cases again that failed.")] = False,
    model: Annotated[str, typer.Option(help="Text-image model.")] = "demo",
    sam: Annotated[str, typer.Option(help="SAM 2 model.")] = "demo",
    models_dir: Annotated[Path | None, typer.Option(help="Folder with the models.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Of matrix products; 'auto' is bf16 for large models where it is fast.")
    ] = Precision.AUTO,
    at_once: AtOnce = 0,
    capture: Capture = True,
    engine: Annotated[EngineName, typer.Option(help="This machine, or a Ray cluster.")] = EngineName.local,
    workers: Annotated[int | None, typer.Option(min=1, help="Of Ray; by default one for each GPU.")] = None,
    address: Annotated[
        str | None, typer.Option("--ray-address", help="Of the cluster; RAY_ADDRESS, or Ray on this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Segment a whole collection and write the masks as a dataset; the same command goes on with a stopped run."""
    from dataclasses import replace

    from ..errors import InputError
    from ..export.cases import find_cases, read_prompts
    from ..export.dataset import check_folder
    from ..export.engines import Engine, LocalEngine
    from ..export.export import export as run
    from ..export.job import ExportSettings
    from ..export.known import failures
    from ..segmentation.segmenter import load_segmenter
    from ..segmentation.settings import default_settings

    if prompt and prompts:
        raise InputError("Both -p and --prompts were given.", "Give one of them.")
    asked = read_prompts(prompts) if prompts else {each: each for each in prompt}
    found = find_cases(inputs, asked, series, phase)
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
    chosen = replace(
        default_settings(model, models_dir),
        presence_threshold=presence,
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
    typer.echo(f"{len(cases)} cases: {said}.")
    typer.echo(
        f"Look through {out / 'report.html'}, strike out what is wrong, and run: medclipsam strike {out} struck.txt"
    )


def strike(
    dataset: Annotated[Path, typer.Argument(help="Folder that medclipsam export wrote.", show_default=False)],
    names: Annotated[Path, typer.Argument(help="The list that the report saved, a case a line.", show_default=False)],
) -> None:
    """Take the cases of a list out of a dataset, and put back those that are no longer on it."""
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
