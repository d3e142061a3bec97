"""`medclipsam benchmark ood`: how often a model warns of images, falsely and rightly."""

from __future__ import annotations

from typing import Annotated

import typer

from .figures import FiguresFile, SetsFolder, check_figures, write_figures
from .option_groups import ClipOptions, option_groups
from .options import Overwrite
from .progress import progress_bar
from .table import markdown_table


@option_groups
def ood(
    data: SetsFolder,
    *,
    images: Annotated[int, typer.Option(min=2, help="Maximum number of images per set.")] = 60,
    clip: ClipOptions,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Count warnings of out-of-distribution images, on test images like those a model has seen, and on others.

    Example: medclipsam benchmark ood ~/real
    """
    from ..experiments.out_of_distribution import measure_ood_notes

    check_figures(data, (out,), overwrite)
    loaded = clip.load()
    with progress_bar("looking", unit="count") as context:
        found = measure_ood_notes(loaded, data, images, context)
    for group, by_kind in found.items():
        rows = [
            (kind, str(row["images"]), f"{row['warned']:.2f}", f"{row['median']:.2f}") for kind, row in by_kind.items()
        ]
        typer.echo("\n".join(markdown_table((group, "images", "warned", "median"), rows)) + "\n")
    write_figures(out, found)
