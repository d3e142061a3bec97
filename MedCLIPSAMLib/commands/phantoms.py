"""`medclipsam phantoms make` and `medclipsam demo-models train`: the demo models from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

phantoms_app = typer.Typer(help="Synthetic images with captions and truth.", no_args_is_help=True)
models_app = typer.Typer(help="The demo models.", no_args_is_help=True)


@phantoms_app.callback()
def _phantoms() -> None:
    """Synthetic images with captions and truth."""


@models_app.callback()
def _models() -> None:
    """The demo models."""


@phantoms_app.command()
def make(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for images/, truth/ and captions.jsonl.", show_default=False)
    ],
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 200,
    split: Annotated[str, typer.Option(help="train, validation, test or samples.")] = "train",
) -> None:
    """Write phantoms as PNG files with truth masks and captions."""
    from rich.progress import track

    from ..errors import InputError
    from ..phantoms.dataset import SPLITS, write_phantoms

    if split not in SPLITS:
        raise InputError(f"There is no split '{split}'.", f"Choose one of: {', '.join(SPLITS)}.")
    steps = iter(track(range(count), "phantoms", transient=True))
    write_phantoms(out, split, count, lambda done: next(steps, None))
    typer.echo(f"Written: {count} phantoms in {out}.")


@models_app.command()
def train(
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for demo-clip/ and demo-sam/; the shipped one by default."),
    ] = None,
    clip: Annotated[bool, typer.Option(help="Train the text-image model.")] = True,
    sam: Annotated[bool, typer.Option(help="Train SAM 2.")] = True,
    clip_steps: Annotated[int | None, typer.Option(help="Fewer steps, for a trial.")] = None,
    sam_steps: Annotated[int | None, typer.Option(help="Fewer steps, for a trial.")] = None,
) -> None:
    """Train both demo models from random weights (under an hour on two CPU cores)."""
    from dataclasses import replace

    from ..phantoms.train_clip import ClipTraining, train_clip
    from ..phantoms.train_sam import SamTraining, train_sam
    from ..resources import resource_path

    folder = out or resource_path("models")
    if clip:
        settings = ClipTraining()
        train_clip(folder / "demo-clip", replace(settings, steps=clip_steps or settings.steps), typer.echo)
    if sam:
        settings = SamTraining()
        rounds = tuple(replace(each, steps=sam_steps or each.steps) for each in settings.rounds)
        train_sam(folder / "demo-sam", replace(settings, rounds=rounds), typer.echo)
