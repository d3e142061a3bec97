"""`medclipsam benchmark ood`: how often a model warns of images, falsely and rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .figures import FiguresFile, write_figures
from .option_groups import ClipOptions, option_groups
from .options import Overwrite
from .progress import progress_bar


@option_groups
def ood(
    data: Annotated[Path, typer.Argument(help="Folder of the sets, as for 'benchmark real'.")],
    *,
    images: Annotated[int, typer.Option(min=2, help="Max images of a set.")] = 60,
    clip: ClipOptions,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Count warnings of out-of-distribution images, on test images like those a model has seen, and on others.

    Example: medclipsam benchmark ood ~/real
    """
    from ..experiments.out_of_distribution import measure_ood_notes
    from ..files.outputs import check_outputs
    from .benchmark_real import refuse_inside

    refuse_inside(data.resolve(), out, "the data, which is never written to")
    check_outputs((data,), (out,), overwrite)
    loaded = clip.load()
    with progress_bar("looking", unit="count") as context:
        found = measure_ood_notes(loaded, data, images, context)
    for group, by_kind in found.items():
        typer.echo(f"| {group} | images | warned | median |\n|---|---|---|---|")
        for kind, row in by_kind.items():
            typer.echo(f"| {kind} | {row['images']} | {row['warned']:.2f} | {row['median']:.2f} |")
        typer.echo()
    write_figures(out, found)
