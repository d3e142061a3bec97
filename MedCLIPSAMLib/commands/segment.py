"""`medclipsam segment`: a text prompt becomes masks of image files."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..choices import (
    DEFAULT_MODEL,
    DEFAULT_SAM,
    CoarseMethod,
    MaskFormat,
    OutputLayout,
    Plane,
    Precision,
    SamPromptKind,
    Strategy,
)
from .engine import import_engine
from .options import (
    AsJson,
    AtOnce,
    Capture,
    DeviceName,
    ModelName,
    ModelsDir,
    Negative,
    Overwrite,
    Phase,
    PrecisionName,
    Presence,
    Prompts,
    SamName,
    SeriesName,
    SlicePlane,
    UseWorker,
    WindowRange,
)
from .parsing import parse_slices, parse_window
from .progress import progress_bar
from .session import segmenter_loader
from .table import print_table

if TYPE_CHECKING:
    from ..tasks.segmented import Segmented
    from ..volumes.statistics import SegmentStatistics

Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="NIfTI, NRRD, MHA, PNG, JPEG, or DICOM: files, folders, zip files. All images of a folder, if -o is one.",
        show_default=False,
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        help="A file (.seg.nrrd, .nii.gz, .nii, .nrrd, .mha, .png; .dcm is DICOM SEG), or a folder: a file an image.",
        show_default=False,
    ),
]
Form = Annotated[
    MaskFormat | None,
    typer.Option("--format", help="Of the masks: in a folder, or 'rtstruct' for .dcm. [default: seg.nrrd]"),
]
Layout = Annotated[OutputLayout, typer.Option("--output-layout", help="One file for all labels, or one for each.")]
Boxes = Annotated[
    list[str],
    typer.Option(
        "--box",
        help="x0,y0,x1,y1: outline what is in this box, and take the prompt as its label only; repeat it for several "
        "objects. Indices of the file from 0, the last included; in volumes i0,j0,k0,i1,j1,k1, or four with --slice.",
        show_default=False,
    ),
]
Points = Annotated[
    list[str],
    typer.Option(
        "--point",
        help="x,y or i,j,k: outline what is there, alone or with one --box; ',-' behind it: not that.",
        show_default=False,
    ),
]
Roi = Annotated[
    str | None,
    typer.Option(
        "--roi",
        help="Look only in x0,y0,x1,y1 or i0,j0,k0,i1,j1,k1, as if it were all; alone it is a box.",
        show_default=False,
    ),
]
Propagate = Annotated[
    Strategy | None,
    typer.Option(
        help="Over many slices: 'memory' segments key slices and carries their masks by SAM 2's memory, 'boxes' by "
        "handing a box over, 'planes' lets three planes vote, 'slices' segments each slice on its own (the paper). "
        "'memory' where --all or --slices is given; alone it takes all slices.",
        show_default=False,
    ),
]


def segment(
    context: typer.Context,
    images: Images,
    out: Out,
    prompt: Prompts = [],
    box: Boxes = [],
    point: Points = [],
    roi: Roi = None,
    series: SeriesName = None,
    phase: Phase = None,
    negative: Negative = None,
    model: ModelName = DEFAULT_MODEL,
    sam: SamName = DEFAULT_SAM,
    models_dir: ModelsDir = None,
    plane: SlicePlane = Plane.AXIAL,
    number: Annotated[int | None, typer.Option("--slice", help="One slice; the middle one by default.")] = None,
    slices: Annotated[str | None, typer.Option(help="Slices A:B, both included.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every slice.")] = False,
    propagate: Propagate = None,
    form: Form = None,
    layout: Layout = OutputLayout.ONE_FILE,
    saliency: Annotated[
        Path | None,
        typer.Option(help="Also the saliency map of the first prompt, .nii.gz or .nrrd; a folder beside one."),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also a picture of the best slice with the masks, .png; a folder beside one.")
    ] = None,
    montage: Annotated[
        Path | None, typer.Option(help="Also the slices with the masks side by side, .png; a folder beside one.")
    ] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="Say how large each segment is.")] = False,
    window: WindowRange = None,
    layer: Annotated[int | None, typer.Option(help="M2IB: transformer block, counted from 0.")] = None,
    beta: Annotated[float | None, typer.Option(help="M2IB: weight of compression.")] = None,
    steps: Annotated[int | None, typer.Option(help="M2IB: optimisation steps.")] = None,
    samples: Annotated[int | None, typer.Option(help="M2IB: noise samples a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="M2IB: seed of the noise.")] = None,
    coarse: Annotated[CoarseMethod, typer.Option(help="How the saliency map is cut in two.")] = CoarseMethod.OTSU,
    prompts: Annotated[SamPromptKind, typer.Option(help="What SAM 2 is given.")] = SamPromptKind.BOXES,
    presence: Presence = None,
    least_part: Annotated[
        float, typer.Option(help="Remove parts and fill holes below this share of a mask; 0 leaves them.")
    ] = 0.05,
    style: Annotated[
        str | None, typer.Option(help="Prompt style P0 to P5, for prompts that name the target of a prompt set.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--class", help="Class for the styles P1, P3 and P5, such as 'malignant'.")
    ] = "*",
    device: DeviceName = "auto",
    precision: PrecisionName = Precision.AUTO,
    at_once: AtOnce = 0,
    capture: Capture = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say what was chosen for the device.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    worker: UseWorker = True,
) -> None:
    """Segment what each prompt names in images, and write the masks on the images' own grids.

    Example: medclipsam segment head.nii.gz -p "tumor: brain tumor" --all -o tumor.seg.nrrd
    """
    import_engine()
    from ..errors import MedCLIPSAMError
    from ..models.store import experience, find
    from ..pipeline.request import SegmentationRequest
    from ..segmentation.coarse import CoarseSettings
    from ..segmentation.segmenter import TextSegmenter, choices
    from ..segmentation.settings import default_settings
    from ..tasks.batch import prepare
    from ..tasks.marks import Marks, parse_box, parse_point
    from ..tasks.places import Outputs
    from ..tasks.prompts import parse_prompts
    from ..tasks.segment_files import Failed, FileSegmenter, Task

    marks = Marks(tuple(map(parse_box, box)), tuple(map(parse_point, point)))
    part = None if roi is None else parse_box(roi, "--roi")
    if part is not None and not prompt and not marks:
        marks, part = Marks((part,)), None  # nothing says what to look for in it
    labels = parse_prompts(prompt or (["object"] if marks else []))
    shown = parse_window(window)
    request = SegmentationRequest(
        tuple(labels.values()), negative, plane, parse_slices(number, slices, every), propagate, window=shown
    )
    outputs = Outputs(out, form, layout, saliency, overlay, montage)
    task = Task(labels, request, outputs.check(), marks, part)
    batch = prepare(images, outputs, list(labels), overwrite, series, phase)
    m2ib = {"layer": layer, "beta": beta, "steps": steps, "samples": samples, "seed": seed}
    settings = default_settings(model, models_dir)
    settings = replace(
        settings.with_saliency(**{name: value for name, value in m2ib.items() if value is not None}),
        coarse=CoarseSettings(method=coarse),
        prompts=replace(settings.prompts, kind=prompts),
        presence_threshold=settings.presence_threshold if presence is None else presence,
        least_part=least_part,
        precision=precision,
        at_once=at_once,
        capture=capture,
        style=style,
        kind=kind,
    )

    def load() -> TextSegmenter:
        segmenter = segmenter_loader(context)(model, sam, device, models_dir, settings)
        if verbose:
            typer.echo(choices(segmenter), err=True)
        return segmenter

    described = {**task.describe(), "models": [model, sam], "settings": settings.deciding(), "layout": layout}
    reports: list[dict[str, Any]] = []
    measured: list[tuple[str, SegmentStatistics]] = []
    failed: list[Failed] = []
    with ExitStack() as held:
        batch.claim(described, held)
        todo, kept = batch.split()
        segmenter = FileSegmenter(task, load)
        try:
            for done, (image, places) in enumerate(todo, 1):
                title = f"{done} of {len(todo)}, {image.name}" if outputs.is_folder else ""
                with progress_bar(title or "loading", quiet=as_json) as shown_in:
                    outcome = segmenter.segment(image, places, shown_in.titled(title) if title else shown_in)
                if isinstance(outcome, Failed):
                    if not outputs.is_folder and image.path.is_dir():
                        remedy = f"{outcome.error.remedy} For all images of a folder, give -o a folder too."
                        raise MedCLIPSAMError(outcome.error.problem, remedy.strip())
                    if not outputs.is_folder:
                        raise outcome.error
                    failed.append(outcome)
                    typer.echo(outcome.line, err=True)
                    continue
                known = experience([(model, "clip"), (sam, "sam")], models_dir)
                reports.append(outcome.report(statistics) | {"models": known})
                measured += [(outcome.name, each) for each in (outcome.statistics if statistics else ())]
                if not as_json:
                    _say(outcome, f"{image.name}: " if outputs.is_folder else "")
        except KeyboardInterrupt:
            if batch.unfinished_steps:
                typer.echo(
                    f"Stopped after {batch.unfinished_steps} steps; the same command goes on from there.", err=True
                )
            elif kept or reports:
                typer.echo("Stopped; the same command goes on with the next image.", err=True)
            raise
    used = find(model, "clip", models_dir)
    if reports and not as_json and used.shipped:
        typer.echo(f"note: The model '{model}' has seen: {used.seen}", err=True)
    if statistics and not as_json:
        _print_statistics(measured)
    if as_json and not outputs.is_folder:
        print(json.dumps(reports[0], indent=1))
    elif as_json:
        before = [{"input": str(each.path), "outputs": list(map(str, places.files))} for each, places in kept]
        failures = [each.report() for each in failed]
        print(json.dumps({"folder": str(out), "images": reports, "kept": before, "failed": failures}, indent=1))
    elif outputs.is_folder:
        there = f", {len(kept)} there before" if kept else ""
        lost = f", {len(failed)} failed" if failed else ""
        typer.echo(f"{len(reports)} written to {out}{there}{lost}. For research, not for diagnosis.")
    else:
        typer.echo(f"Written: {', '.join(reports[0]['outputs'])}. For research, not for diagnosis.")
    if failed:
        raise typer.Exit(1)


def _say(made: Segmented, title: str) -> None:
    for note in made.volume.notes:
        typer.echo(f"note: {title}{note}", err=True)
    for line in made.lines():
        typer.echo(f"{title}{line}")


def _print_statistics(measured: list[tuple[str, SegmentStatistics]]) -> None:
    """Print the sizes of the segments as a table."""
    from rich.table import Table

    several = len({name for name, _ in measured}) > 1
    table = Table()
    for column in ("image", "segment", "voxels", "slices", "size")[0 if several else 1 :]:
        table.add_column(column, justify="right" if column in ("voxels", "slices", "size") else "left")
    for name, row in measured:
        cells = (row.segment, str(row.voxels), str(row.slices), row.size)
        table.add_row(*((name, *cells) if several else cells))
    print_table(table)
    if any(row.ml is None and row.mm2 is None for _, row in measured):
        typer.echo("Where the size is unknown, the image does not say how large a pixel is.")
