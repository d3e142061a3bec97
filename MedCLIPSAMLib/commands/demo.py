"""`medclipsam demo`: the main job on the shipped sample images, offline, with the demo models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .json_output import print_json
from .options import AsJson
from .table import figures_table, print_table

if TYPE_CHECKING:
    from ..phantoms.samples import Sample
    from ..segmentation.segmenter import TextSegmenter


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results; created if missing.")] = Path(
        "demo-output"
    ),
    as_json: AsJson = False,
) -> None:
    """Segment a sample image of four modalities by text and compare with the known truth.

    Example: medclipsam demo -o demo-output
    """
    from ..evaluation.overlays import write_contact_sheet
    from ..files.outputs import claim_outputs
    from ..phantoms.samples import SAMPLES
    from ..segmentation.segmenter import load_segmenter

    with claim_outputs(out, "demo"):
        segmenter = load_segmenter("demo", "demo", "cpu")
        scores, rows = zip(*(_segment_sample(sample, segmenter, out) for sample in SAMPLES))
        write_contact_sheet(rows, out / "contact_sheet.png")
    if as_json:
        print_json({"folder": str(out), "scores": scores})
    else:
        _print_scores(scores, out)


def _segment_sample(sample: Sample, segmenter: TextSegmenter, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Segment a sample image and write the mask; return its scores and its row of the contact sheet."""
    from ..evaluation.metrics import dsc, nsd
    from ..evaluation.overlays import overlay
    from ..pipeline.request import SegmentationRequest
    from ..pipeline.segment_volume import segment_volume
    from ..segmentation.result import PromptedResult
    from ..volumes import read_segmentation, read_volume, write_segmentation
    from ..volumes.terminology import color_for
    from ..volumes.write import write_png

    volume = read_volume(sample.image)
    truth = read_segmentation(sample.truth, volume)[0].mask
    found = segment_volume(segmenter, volume, SegmentationRequest((sample.prompt,))).collect()
    segment = found.segments()[0]
    write_segmentation(out / f"{sample.name}.seg.nrrd", [segment], volume)
    ((number, result),) = found.results[sample.prompt].items()
    assert isinstance(result, PromptedResult)
    image = found.stack.image(number)
    drawn = overlay(image, {sample.prompt: result.mask}, {sample.prompt: color_for(sample.prompt)})
    write_png(out / f"{sample.name}_overlay.png", drawn, marked=True)
    score = {
        "image": sample.name,
        "prompt": sample.prompt,
        "dsc": dsc(segment.mask, truth),
        "nsd": nsd(segment.mask[0], truth[0], (1.0, 1.0), 2.0),
        "presence": result.where.presence.probability,
        "seconds": sum(result.seconds.values()),
    }
    row = {
        "title": f'{sample.name}\n"{sample.prompt}"',
        "image": image,
        "saliency": result.where.saliency,
        "boxes": result.sam_prompts.boxes,
        "coarse": result.coarse,
        "mask": result.mask,
        "truth": found.stack.from_grid(truth, number),
        "caption": f"DSC {score['dsc']:.2f}",
    }
    return score, row


def _print_scores(scores: Sequence[dict[str, Any]], out: Path) -> None:
    from ..resources import resource_path

    figures = "dsc", "nsd", "presence", "seconds"
    rows = [(score["image"], score["prompt"], *(f"{score[name]:.3f}" for name in figures)) for score in scores]
    columns = "image", "prompt", "DSC", "NSD (2 px)", "presence", "seconds"
    print_table(figures_table("Sample images (synthetic) against their truth", columns, rows, words=2))
    typer.echo(
        f"Segmentations, overlays and contact_sheet.png are in {out.resolve()}. The sample images are in "
        f"{resource_path('samples')}. For research, not for diagnosis."
    )
