"""`medclipsam segment`: a text prompt becomes a mask of an image file."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import AtOnce, Capture, Overwrite, Phase, SeriesName


class Plane(StrEnum):
    axial, coronal, sagittal = "axial", "coronal", "sagittal"


class Coarse(StrEnum):
    otsu, kmeans, threshold, crf = "otsu", "kmeans", "threshold", "crf"


class PromptKind(StrEnum):
    boxes, points, both = "boxes", "points", "both"


class Strategy(StrEnum):
    slices, memory, boxes, planes = "slices", "memory", "boxes", "planes"


class Precision(StrEnum):
    auto, f32, bf16 = "auto", "f32", "bf16"


class Device(StrEnum):
    auto, cpu, cuda, mps = "auto", "cpu", "cuda", "mps"


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
    plane: Annotated[Plane, typer.Option(help="Direction of the slices.")] = Plane.axial,
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
    coarse: Annotated[Coarse, typer.Option(help="How the saliency map is cut in two.")] = Coarse.otsu,
    prompts: Annotated[PromptKind, typer.Option(help="What SAM 2 is given.")] = PromptKind.boxes,
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
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    precision: Annotated[
        Precision, typer.Option(help="Of matrix products; 'auto' is bf16 for large models where it is fast.")
    ] = Precision.auto,
    at_once: AtOnce = 0,
    capture: Capture = True,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say what was chosen for the device.")] = False,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Segment what each prompt names in an image, and write the masks on the image's own grid."""
    from .. import __version__
    from ..volumes import SliceStack, read_volume, write_saliency, write_segmentation
    from ..volumes.outputs import check_outputs
    from ..volumes.unfinished import check_unfinished, hold_unfinished
    from ..volumes.write import LABELMAP_SUFFIXES, SEGMENTATION_SUFFIXES, check_output, check_slices, fit
    from ..zeroshot.coarse import CoarseSettings
    from ..zeroshot.resume import ResumeFolder, fingerprint
    from ..zeroshot.segmenter import choices, default_settings, load_segmenter
    from ..zeroshot.volume import segment_volume

    for path, suffixes in ((out, SEGMENTATION_SUFFIXES), (saliency, LABELMAP_SUFFIXES), (overlay, (".png",))):
        if path is not None:
            check_output(path, suffixes)
    check_outputs((image,), (out, saliency, overlay), overwrite)
    unfinished = out.with_name(f"{out.name}.unfinished")
    check_unfinished(unfinished)
    volume = read_volume(image, series, phase)
    check_slices(out, volume)
    limits = _window(window)
    numbers = _slices(len(SliceStack(volume, plane.value, limits)), number, slices, every)
    if propagate is None:
        propagate = Strategy.memory if numbers and len(numbers) > 1 else Strategy.slices
    settings = default_settings(model, models_dir)
    given = {
        name: value
        for name, value in {"layer": layer, "beta": beta, "steps": steps, "samples": samples, "seed": seed}.items()
        if value is not None
    }
    settings = replace(
        settings.with_saliency(**given),
        coarse=CoarseSettings(method=coarse.value),
        prompts=replace(settings.prompts, kind=prompts.value),
        presence_threshold=presence,
        least_part=least_part,
        precision=precision.value,
        at_once=at_once,
        capture=capture,
        style=style,
        kind=kind,
    )
    segmenter = load_segmenter(model, sam, device.value, models_dir, settings)
    if verbose:
        typer.echo(choices(segmenter), err=True)
    kept = None
    if propagate != Strategy.slices or (numbers and len(numbers) > 1):
        asked = {"prompts": prompt, "plane": plane.value, "negative": negative, "window": limits}
        if propagate != Strategy.slices:
            asked |= {"propagate": propagate.value, "slices": numbers and [numbers[0], numbers[-1]]}
        made_by = {"models": [model, sam], "settings": segmenter.settings.deciding(), "version": __version__}
        command.with_resource(hold_unfinished(unfinished))
        kept = ResumeFolder(unfinished, fingerprint(volume.array, **asked, **made_by))
        if kept.count and not as_json:
            typer.echo(f"Going on with a run that was stopped: {kept.count} steps are done.", err=True)
    try:
        with _progress(quiet=as_json) as progress:
            result = segment_volume(
                segmenter, volume, prompt, numbers, plane.value, negative, limits, progress, propagate.value, kept
            )
    except KeyboardInterrupt:
        if kept and kept.count:
            typer.echo(f"Stopped after {kept.count} steps; the same command goes on from there.", err=True)
        raise
    segments, notes = fit(out, result.segments())
    volume.notes.extend(notes)
    write_segmentation(out, segments, volume)
    if kept:
        kept.remove()
    if saliency is not None:
        write_saliency(saliency, result.saliency(prompt[0]), volume)
    if overlay is not None:
        _write_overlay(overlay, result)
    if as_json:
        print(json.dumps(report(result, volume, out), indent=1))
        return
    for note in volume.notes:
        typer.echo(f"note: {note}", err=True)
    for by_slice in result.results.values():
        best = max(by_slice, key=lambda number: by_slice[number].score)
        where = f"{result.stack.plane} slice {best} of 0 to {len(result.stack) - 1}: " if len(result.stack) > 1 else ""
        found = sum(each.found for each in by_slice.values())
        asked = len(by_slice) if propagate == Strategy.slices else len(numbers or range(len(result.stack)))
        count = f" Found on {found} of {asked} slices." if asked > 1 else ""
        typer.echo(f"{where}{by_slice[best].message}{count}")
    typer.echo(f"Written: {out}. For research, not for diagnosis.")


def report(result, volume, out: Path) -> dict:
    """The results as plain values for machines."""
    rows = []
    for prompt, by_slice in result.results.items():
        for number, each in by_slice.items():
            rows.append(
                {
                    "prompt": prompt,
                    "slice": number,
                    "found": each.found,
                    "score": round(each.score, 4),
                    "message": each.message,
                    "presence": round(each.where.presence.probability, 4) if each.where else None,
                    "pixels": int(each.mask.sum()),
                    "boxes": each.sam_prompts.boxes.round(1).tolist() if each.sam_prompts else [],
                    "predicted_iou": [round(float(quality), 4) for quality in each.predicted_iou]
                    if each.predicted_iou is not None
                    else [],
                    "seconds": {stage: round(value, 4) for stage, value in each.seconds.items()},
                }
            )
    return {
        "input": str(volume.path),
        "output": str(out),
        "plane": result.stack.plane,
        "notes": list(volume.notes),
        "tags": result.tags,
        "results": rows,
    }


def _slices(count: int, number: int | None, span: str | None, every: bool) -> list[int] | None:
    from ..errors import InputError

    if sum((number is not None, span is not None, every)) > 1:
        raise InputError("More than one of --slice, --slices and --all was given.", "Give one.")
    if every:
        return list(range(count))
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
        return list(range(int(first), int(last) + 1))
    return None if number is None else [number]


def _window(text: str | None) -> object:
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


def _progress(quiet: bool):
    """A context that gives a `volume.Progress`: a bar on the error stream, silent when `quiet` or not on a terminal."""
    from contextlib import contextmanager

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)

    @contextmanager
    def bar():
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        ) as shown:
            task = shown.add_task("loading", total=1.0)
            yield lambda fraction, message: shown.update(task, completed=fraction, description=message)

    return bar()


def _write_overlay(path: Path, result) -> None:
    from ..evaluation.pictures import overlay
    from ..volumes.terminology import colour_for
    from ..volumes.write import write_picture

    totals: dict[int, float] = {}
    for by_slice in result.results.values():
        for number, each in by_slice.items():
            looked_at = 1.0 if each.where else 0.99  # rather than a slice that a mask was carried to
            totals[number] = totals.get(number, 0.0) + looked_at * each.score
    number = max(totals, key=totals.get)
    masks = {prompt: by_slice[number].mask for prompt, by_slice in result.results.items() if number in by_slice}
    write_picture(path, overlay(result.stack.picture(number), masks, {prompt: colour_for(prompt) for prompt in masks}))
