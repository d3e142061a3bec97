"""`medclipsam benchmark strangeness`: how often a model warns of images, falsely and rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import DEFAULT_MODEL
from .figures import FiguresFile, write_figures
from .options import DeviceName, ModelName, ModelsDir, Overwrite
from .progress import progress_bar


def strangeness(
    data: Annotated[Path, typer.Argument(help="Folder of the sets, as for 'benchmark real'.")],
    images: Annotated[int, typer.Option(min=2, help="Max images of a set.")] = 60,
    model: ModelName = DEFAULT_MODEL,
    models_dir: ModelsDir = None,
    device: DeviceName = "auto",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Count warnings of strange images, on test images like those a model has seen, and on others.

    Example: medclipsam benchmark strangeness ~/real
    """
    from ..experiments.strangeness import measure_strangeness
    from ..files.outputs import check_outputs
    from ..models.clip import load_clip
    from ..models.device import resolve_device
    from .benchmark_real import refuse_inside

    refuse_inside(data.resolve(), out, "the data, which is never written to")
    check_outputs((data,), (out,), overwrite)
    clip = load_clip(model, resolve_device(device), models_dir=models_dir)
    with progress_bar("looking", unit="count") as context:
        found = measure_strangeness(clip, data, images, context)
    for group, by_kind in found.items():
        typer.echo(f"| {group} | images | warned | median |\n|---|---|---|---|")
        for kind, row in by_kind.items():
            typer.echo(f"| {kind} | {row['images']} | {row['warned']:.2f} | {row['median']:.2f} |")
        typer.echo()
    write_figures(out, found)
