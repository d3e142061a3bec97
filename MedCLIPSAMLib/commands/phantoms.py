"""`medclipsam phantoms make` and `medclipsam demo-models train`: the demo models from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite
from .progress import progress_bar

phantoms_app = typer.Typer(help="Make synthetic images with captions and truth.", no_args_is_help=True)
models_app = typer.Typer(help="Train the demo models on phantoms.", no_args_is_help=True)


@phantoms_app.command()
def make(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for images/, truth/ and captions.jsonl.", show_default=False)
    ],
    count: Annotated[int, typer.Option(min=1, help="Number of phantoms.")] = 200,
    split: Annotated[str, typer.Option(help="train, validation, test or samples.")] = "train",
) -> None:
    """Write phantoms as PNG files with truth masks and captions.

    Example: medclipsam phantoms make -o phantoms --count 20 --split test
    """
    from ..files.outputs import claim_outputs
    from ..phantoms.dataset import split_number, write_phantoms

    split_number(split)
    with claim_outputs(out, "phantoms make", split=split), progress_bar("phantoms", unit="count") as context:
        write_phantoms(out, split, count, context)
    typer.echo(f"Written: {count} phantoms in {out}.")


@models_app.command()
def train(
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for demo-clip/ and demo-sam/; the shipped one by default."),
    ] = None,
    clip: Annotated[bool, typer.Option(help="Train the text-image model.")] = True,
    sam: Annotated[bool, typer.Option(help="Train SAM 2.")] = True,
    clip_steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, for a trial.")] = None,
    sam_steps: Annotated[int | None, typer.Option(min=1, help="Fewer steps, for a trial.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train both demo models from random weights (a little over an hour on two CPU cores).

    Example: medclipsam demo-models train -o trained --clip-steps 100 --sam-steps 100
    """
    from dataclasses import replace

    from ..demo_models.train import train_demo_models
    from ..demo_models.train_clip import ClipTraining
    from ..demo_models.train_sam import SamTraining
    from ..files.outputs import check_folders
    from ..resources import resource_path

    clip_settings = replace(ClipTraining(), steps=clip_steps or ClipTraining.steps) if clip else None
    sam_settings = replace(SamTraining(), steps=sam_steps or SamTraining.steps) if sam else None
    chosen = [name for name, taken in (("demo-clip", clip), ("demo-sam", sam)) if taken]
    folder = out or resource_path("models")
    check_folders([folder / name for name in chosen], overwrite)
    seconds = train_demo_models(folder, clip_settings, sam_settings)
    typer.echo(f"Trained in {seconds / 60:.1f} min.")
