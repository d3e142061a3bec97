"""`medclipsam segment`: a text prompt becomes a mask of an image file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..choices import CoarseMethod, Device, Plane, Precision, SamPromptKind, Strategy
from .options import AtOnce, Capture, Overwrite, Phase, SeriesName
from .progress import progress_bar

if TYPE_CHECKING:
    from ..pipeline.volume_result import VolumeResult
    from ..volumes.volume import Volume
    from ..volumes.window import Window


def segment(
    command: typer.Context,
    image: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="NIfTI, NRRD, MHA, PNG, JPEG, or DICOM: a file, a folder, a zip file.",
            show_default=False,
        ),
    ],
    prompt: Annotated[
        list[str],
        typer.Option("-p", "--prompt", help="What to segment; repeat it for several structures.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="Where to write: .seg.nrrd, .nii.gz, .nrrd, .mha or .png.", show_default=False
        ),
    ],
    series: SeriesName = None,
    phase: Phase = None,
    negative: Annotated[str | None, typer.Option(help="What not to take.")] = None,
    model: Annotated[str, typer.Option(help="Text-image model (medclipsam models list).")] = "demo",
    sam: Annotated[str, typer.Option(help="SAM 2 model.")] = "demo",
    models_dir: Annotated[Path | None, typer.Option(help="Folder with the models, for work without a network.")] = None,
    plane: Annotated[Plane, typer.Option(help="Direction of the slices.")] = Plane.AXIAL,
    number: Annotated[int | None, typer.Option("--slice", help="One slice; the middle one by default.")] = None,
    slices: Annotated[str | None, typer.Option(help="Slices A:B, both included.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every slice.")] = False,
    propagate: Annotated[
        Strategy | None,
        typer.Option(
            help="Over many slices: 'memory' segments key slices and carries their masks by SAM 2's memory, 'boxes' by "
            "handing a box over, 'planes' lets three planes vote, 'slices' segments each slice on its own (the paper). "
            "'memory' where --all or --slices is given; alone it takes all slices.",
            show_default=False,
        ),
    ] = None,
    saliency: Annotated[
        Path | None, typer.Option(help="Also write the saliency map of the first prompt, .nii.gz or .nrrd.")
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Also write a picture of the best slice with the masks, .png.")
    ] = None,
    window: Annotated[str | None, typer.Option(help="Display window: a preset such as 'lung', or LOW:HIGH.")] = None,
    layer: Annotated[int | None, typer.Option(help="M2IB: transformer block, counted from 0.")] = None,
    beta: Annotated[float | None, typer.Option(help="M2IB: weight of compression.")] = None,
    steps: Annotated[int | None, typer.Option(help="M2IB: optimisation steps.")] = None,
    samples: Annotated[int | None, typer.Option(help="M2IB: noise samples a step.")] = None,
    seed: Annotated[int | None, typer.Option(help="M2IB: seed of the noise.")] = None,
    coarse: Annotated[CoarseMethod, typer.Option(help="How the saliency map is cut in two.")] = CoarseMethod.OTSU,
    prompts: Annotated[SamPromptKind, typer.Option(help="What SAM 2 is given.")] = SamPromptKind.BOXES,
    presence: Annotated[float, typer.Option(help="Least presence for a find; 0 always outlines something.")] = 0.5,
    least_part: Annotated[
        float, typer.Option(help="Remove parts and fill holes below this share of a mask; 0 leaves them.")
    ] = 0.05,
    style: Annotated[
        str | None, typer.Option(help="Prompt style P0 to P5, for prompts that name the target of a prompt set.")
    ] = None,
    kind: Annotated[
        str, typer.Option("--class", help="Class for the styles P1, P3 and P5, such as 'malignant'.")
    ] = "*",
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.AUTO,
    precision: Annotated[
        Precision, typer.Option(help="Of matrix products; 'auto' is bf16 for large models where it is fast.")
    ] = Precision.AUTO,
    at_once: AtOnce = 0,
    capture: Capture = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say what was chosen for the device.")] = False,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Segment what each prompt names in an image, and write the masks on the image's own grid."""
    from ..checkpoints import CheckpointFolder
    from ..files.outputs import check_outputs
    from ..files.unfinished import check_unfinished, hold_unfinished
    from ..pipeline.request import SegmentationRequest
    from ..pipeline.segment_volume import segment_volume
    from ..segmentation.coarse import CoarseSettings
    from ..segmentation.segmenter import choices, load_segmenter
    from ..segmentation.settings import default_settings
    from ..volumes import read_volume, write_saliency, write_segmentation
    from ..volumes.write import LABELMAP_SUFFIXES, SEGMENTATION_SUFFIXES, check_output, check_slices, fit

    for path, suffixes in ((out, SEGMENTATION_SUFFIXES), (saliency, LABELMAP_SUFFIXES), (overlay, (".png",))):
        if path is not None:
            check_output(path, suffixes)
    check_outputs((image,), (out, saliency, overlay), overwrite)
    unfinished = out.with_name(f"{out.name}.unfinished")
    check_unfinished(unfinished)
    volume = read_volume(image, series, phase)
    check_slices(out, volume)
    request = SegmentationRequest(
        tuple(prompt), negative, plane, parse_slices(number, slices, every), propagate, window=parse_window(window)
    )
    m2ib = {"layer": layer, "beta": beta, "steps": steps, "samples": samples, "seed": seed}
    settings = default_settings(model, models_dir)
    settings = replace(
        settings.with_saliency(**{name: value for name, value in m2ib.items() if value is not None}),
        coarse=CoarseSettings(method=coarse),
        prompts=replace(settings.prompts, kind=prompts),
        presence_threshold=presence,
        least_part=least_part,
        precision=precision,
        at_once=at_once,
        capture=capture,
        style=style,
        kind=kind,
    )
    segmenter = load_segmenter(model, sam, device, models_dir, settings)
    if verbose:
        typer.echo(choices(segmenter), err=True)
    command.with_resource(hold_unfinished(unfinished))
    checkpoints = CheckpointFolder(unfinished)
    try:
        with progress_bar("loading", quiet=as_json) as context:
            result = segment_volume(segmenter, volume, request, replace(context, checkpoints=checkpoints)).collect()
    except KeyboardInterrupt:
        if checkpoints.count:
            typer.echo(f"Stopped after {checkpoints.count} steps; the same command goes on from there.", err=True)
        raise
    segments, notes = fit(out, result.segments())
    volume.notes.extend(notes)
    write_segmentation(out, segments, volume)
    checkpoints.remove()
    if saliency is not None:
        write_saliency(saliency, result.saliency(prompt[0]), volume)
    if overlay is not None:
        _write_overlay(overlay, result)
    if as_json:
        print(json.dumps(report(result, volume, out), indent=1))
        return
    for note in volume.notes:
        typer.echo(f"note: {note}", err=True)
    for line in _summary(result):
        typer.echo(line)
    typer.echo(f"Written: {out}. For research, not for diagnosis.")


def _summary(result: VolumeResult) -> Iterator[str]:
    """A line for each prompt: its best slice, and on how many it was found."""
    for by_slice in result.results.values():
        best = max(by_slice, key=lambda number: by_slice[number].score)
        last = len(result.stack) - 1
        where = f"{result.stack.plane} slice {best} of 0 to {last}: " if last else ""
        found, asked = sum(each.found for each in by_slice.values()), len(result.request.slices)
        count = f" Found on {found} of {asked} slices." if asked > 1 else ""
        yield f"{where}{by_slice[best].message}{count}"


def report(result: VolumeResult, volume: Volume, out: Path) -> dict[str, Any]:
    """The results as plain values for machines."""
    from ..segmentation.result import PromptedResult

    rows = []
    for prompt, by_slice in result.results.items():
        for number, each in by_slice.items():
            row: dict[str, Any] = {"prompt": prompt, "slice": number, "found": each.found}
            row |= {"score": round(each.score, 4), "message": each.message, "presence": None}
            row |= {"pixels": int(each.mask.sum()), "boxes": [], "predicted_iou": [], "seconds": {}}
            if isinstance(each, PromptedResult):
                row["presence"] = round(each.where.presence.probability, 4)
                row["boxes"] = each.sam_prompts.boxes.round(1).tolist()
                row["predicted_iou"] = [round(float(quality), 4) for quality in each.predicted_iou]
                row["seconds"] = {stage: round(value, 4) for stage, value in each.seconds.items()}
            rows.append(row)
    return {
        "input": str(volume.path),
        "output": str(out),
        "plane": result.stack.plane,
        "notes": list(volume.notes),
        "tags": result.tags,
        "results": rows,
    }


def parse_slices(number: int | None, span: str | None, every: bool) -> tuple[int, ...] | Literal["all"] | None:
    """The slices of --slice, --slices and --all, of which one at most is given."""
    from ..errors import InputError

    if sum((number is not None, span is not None, every)) > 1:
        raise InputError("More than one of --slice, --slices and --all was given.", "Give one.")
    if every:
        return "all"
    if span is not None:
        first, separator, last = span.partition(":")
        if (
            not separator
            or not first.strip().lstrip("-").isdigit()
            or not last.strip().lstrip("-").isdigit()
            or int(first) > int(last)
        ):
            raise InputError(
                f"--slices {span} is not a range of slices.", "Write A:B with A not above B, such as 40:60."
            )
        return tuple(range(int(first), int(last) + 1))
    return None if number is None else (number,)


def parse_window(text: str | None) -> Window:
    """None, the name of a preset, or (low, high)."""
    if text is None or ":" not in text:
        return text
    from ..errors import InputError

    try:
        low, high = (float(value) for value in text.split(":"))
    except ValueError:
        raise InputError(
            f"--window {text} is not a window.", "Write LOW:HIGH, such as -1000:400, or the name of a preset."
        ) from None
    return low, high


def _write_overlay(path: Path, result: VolumeResult) -> None:
    from ..evaluation.pictures import overlay
    from ..segmentation.result import CarriedResult
    from ..volumes.terminology import colour_for
    from ..volumes.write import write_picture

    totals: dict[int, float] = {}
    for by_slice in result.results.values():
        for number, each in by_slice.items():
            weight = 0.99 if isinstance(each, CarriedResult) else 1.0  # key slices come first
            totals[number] = totals.get(number, 0.0) + weight * each.score
    number = max(totals, key=lambda k: totals[k])
    masks = {prompt: by_slice[number].mask for prompt, by_slice in result.results.items() if number in by_slice}
    write_picture(path, overlay(result.stack.picture(number), masks, {prompt: colour_for(prompt) for prompt in masks}))
