"""`medclipsam finetune` and `medclipsam retrieval`: fine-tune a text-image model on captions, and measure the gain."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import Freeze, Loss, TrainingPrecision
from ..counted import counted
from .json_output import print_json
from .option_groups import option_groups
from .options import AsJson, DeviceName, ModelsDir, complete_model
from .progress import progress_bar, telling
from .table import figures_table, print_table

if TYPE_CHECKING:
    from ..finetune.settings import FineTuneSettings
    from ..finetune.sides import CaptionData
    from ..finetune.train import FineTuned
    from ..run_context import Progress


CaptionsArgument = Annotated[
    str,
    typer.Argument(
        metavar="CAPTIONS",
        help="Table of images and captions (CSV, JSON lines, MedPix, ROCO), folder of images and texts, or shards.",
        show_default=False,
    ),
]
ImagesOption = Annotated[Path | None, typer.Option(help="Folder of the images; by default that of the table.")]
MinCharacters = Annotated[int, typer.Option(min=1, help="Drop captions with fewer characters.")]


@dataclass(frozen=True)
class DataOptions:
    """Training pairs, and the pairs held out for validation."""

    images: ImagesOption = None
    validation: Annotated[str | None, typer.Option(help="Table or shards of validation pairs.")] = None
    validation_share: Annotated[
        float, typer.Option(help="Share of patients held out when --validation is not given.")
    ] = 0.15
    min_characters: MinCharacters = 20

    def data(self, captions: str) -> CaptionData:
        """Return the pairs, which are not read yet."""
        from ..finetune.sides import CaptionData

        return CaptionData(captions, self.images, self.validation, self.validation_share, self.min_characters)


@dataclass(frozen=True)
class FineTuneOptions:
    """Training settings."""

    base: Annotated[str, typer.Option(help="Model to start from.", autocompletion=complete_model("clip"))] = (
        "biomedclip"
    )
    loss: Annotated[Loss, typer.Option(help="Loss that is minimized.")] = Loss.DHN_NCE
    temperature: Annotated[
        float | None, typer.Option(help="Temperature of the loss: 0.6 for DHN-NCE, 0.07 for InfoNCE by default.")
    ] = None
    beta: Annotated[float, typer.Option(help="Hardness of the negatives, both ways, for DHN-NCE and HN-NCE.")] = 0.15
    batch: Annotated[int, typer.Option(help="Pairs per step.")] = 64
    chunk: Annotated[
        int,
        typer.Option(
            min=0, help="Pairs in memory at once, with the same result; 0: all that fit.", show_default="what fits"
        ),
    ] = 0
    epochs: Annotated[int, typer.Option(help="Maximum number of epochs.")] = 32
    patience: Annotated[int, typer.Option(help="End after this many epochs without a gain; 0: never.")] = 5
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--lr",
            help="Peak learning rate: 1e-6, with LoRA 1e-4, for the heads alone 3e-4.",
            show_default="by what is trained",
        ),
    ] = None
    warm_up: Annotated[float, typer.Option(help="Share of the steps in which the learning rate rises.")] = 0.1
    weight_decay: Annotated[float, typer.Option(help="Weight decay of AdamW.")] = 0.1
    crop: Annotated[
        float | None,
        typer.Option(
            help="Minimum share of an image that random crops keep; 1: no crops.", show_default="0.9; 1 for heads alone"
        ),
    ] = None
    freeze: Annotated[
        Freeze,
        typer.Option(help="Part of the model to freeze; 'all-but-heads' encodes each image once: minutes on a CPU."),
    ] = Freeze.NOTHING
    blend: Annotated[
        float | None,
        typer.Option(
            help="Share of what was learned in the result, above 0 and up to 1; the rest is the base's.",
            show_default="1; 0.5 for heads alone",
        ),
    ] = None
    lora: Annotated[int, typer.Option(help="Rank of LoRA, such as 8; 0 trains the weights themselves.")] = 0
    precision: Annotated[TrainingPrecision, typer.Option(help="'auto': bf16 on a GPU, 32 bits on a CPU.")] = (
        TrainingPrecision.AUTO
    )
    seed: Annotated[int, typer.Option(help="Seed of order, crops, dropout and split.")] = 12

    def settings(self) -> FineTuneSettings:
        """Return the settings of the training."""
        from ..finetune.settings import FineTuneSettings

        options = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("beta", "lora")}
        return FineTuneSettings(**options, beta_image=self.beta, beta_text=self.beta, lora_rank=self.lora)


@option_groups
def finetune(
    captions: CaptionsArgument,
    name: Annotated[str, typer.Option(help="Name of the new model in the catalogue.", show_default=False)],
    data: DataOptions,
    training: FineTuneOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder of the run, new or to be resumed; NAME-run by default.", show_default=False
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read images; up to 4 by default.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model of that name from another run.")
    ] = False,
    models_dir: ModelsDir = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Fine-tune a text-image model on image-caption pairs, by DHN-NCE as in the paper.

    The same command resumes a stopped run. Several GPUs: torchrun --nproc-per-node 4 -m MedCLIPSAMLib
    finetune ...

    Example: medclipsam finetune captions.csv --name mine --base biomedclip
    """
    from ..finetune.job import run
    from ..finetune.owner import is_first_process
    from ..finetune.train import CHECKPOINT, FEATURES

    folder = out or Path(f"{name}-run")
    first = is_first_process()
    pairs, settings = data.data(captions), training.settings()
    if workers is None:
        workers = min(4, os.cpu_count() or 1)
    try:
        with progress_bar("training", quiet=as_json or not first, unit="count") as context:
            epoch_context = telling(context, _epoch)
            result, model = run(
                pairs, settings, name, folder, device, models_dir, workers, epoch_context, replace=overwrite
            )
    except KeyboardInterrupt:
        if first:
            resumes = any((folder / file).is_file() for file in (CHECKPOINT, FEATURES))
            how = f"resumes from what is stored in '{folder}'" if resumes else "starts again"
            typer.echo(f"Stopped; the same command {how}.", err=True)
        raise
    if first and as_json:
        figures = {"before": result.before, "after": result.after, "step": result.step}
        print_json({"model": str(model), **figures, "peak_memory": result.peak_memory})
    elif first:
        _say_result(result, name, model)


def retrieval(
    captions: Annotated[
        str,
        typer.Argument(
            help="Table of images and captions (CSV, JSON lines, MedPix, ROCO), or folder of images and texts.",
            show_default=False,
        ),
    ],
    model: Annotated[list[str], typer.Option("-m", "--model", help="Text-image model; repeat it to compare.")],
    images: ImagesOption = None,
    min_characters: MinCharacters = 20,
    batch: Annotated[int, typer.Option(min=2, help="Pairs per batch, among which the right one is retrieved.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Number of shuffles.")] = 5,
    models_dir: ModelsDir = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure how often a caption finds its image among 50 and the reverse, as the paper does.

    Example: medclipsam retrieval captions.csv -m biomedclip -m mine
    """
    from ..finetune.batches import readable
    from ..finetune.captions import read_captions
    from ..finetune.evaluate import evaluate

    found = read_captions(Path(captions), images, min_characters)
    pairs, unreadable = readable(found.pairs)
    left_out = f"; {counted(len(unreadable), 'image')} cannot be read" if unreadable else ""
    typer.echo(f"{found.summary()}{left_out}.", err=True)
    with progress_bar("retrieval", quiet=as_json, unit="count") as context:
        rows = {name: evaluate(name, pairs, batch, seeds, device, models_dir, context) for name in model}
    if as_json:
        print_json(rows)
        return
    first = next(iter(rows.values()))
    table = figures_table(
        f"Retrieval in batches of {first['batch']} of {first['pairs']} pairs, {first['seeds']} shuffles; "
        f"chance {first['chance']:.3f}",
        ("model", "image-text top-1", "top-2", "text-image top-1", "top-2"),
    )
    for name, figures in rows.items():
        values = (figures[way][top] for way in ("image_to_text", "text_to_image") for top in ("top1", "top2"))
        table.add_row(name, *(f"{value['mean']:.3f} ± {value['interval']:.3f}" for value in values))
    print_table(table)


def _say_result(result: FineTuned, name: str, model: Path) -> None:
    for when, figures in (("before", result.before), ("after", result.after)):
        typer.echo(f"{when}: {_sentence(figures)}")
    if result.step == 0:
        typer.echo("No epoch retrieved better than the base model, so the base's weights were kept.")
    typer.echo(f"Peak memory: {result.peak_memory / 2**30:.1f} GiB.")
    typer.echo(f"Best at step {result.step} of {result.steps}. Use it with --model {name} ({model}).")
    typer.echo("Captions of only one kind can make it call things absent: compare its masks with the base's first.")


def _sentence(figures: dict) -> str:
    ways = (("image to text", "image_to_text"), ("text to image", "text_to_image"))
    values = (
        f"{name} {figures[way]['top1']['mean']:.3f} ± {figures[way]['top1']['interval']:.3f}" for name, way in ways
    )
    return f"top-1 retrieval in batches of {figures['batch']} (chance {figures['chance']:.2f}): {', '.join(values)}"


def _epoch(progress: Progress) -> str | None:
    """Describe the result of an epoch; None within an epoch."""
    figures = progress.details.get("validation")
    if not figures:
        return None
    return (
        f"epoch {progress.details['epoch'] + 1}: validation loss {figures['loss']:.4f}, "
        f"top-1 retrieval {figures['top1']:.3f} (best {figures['best']:.3f})"
    )
