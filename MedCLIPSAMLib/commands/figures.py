"""Figures of benchmarks and reproductions, as a file; and the options that several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .json_output import format_json

FiguresFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures as JSON.")]
SetsFolder = Annotated[Path, typer.Argument(help="Folder of the sets: SET/index.csv, SET/images, SET/masks.")]
SetsOrPhantoms = Annotated[
    Path | None,
    typer.Argument(help="Folder of the sets, as for 'benchmark real'; phantoms without it.", show_default=False),
]
SetNames = Annotated[str, typer.Option("--sets", help="Sets of DATA, separated by commas; all four if empty.")]
MaxCases = Annotated[int, typer.Option("--cases", min=1, help="Maximum number of images per set.")]
SplitName = Annotated[
    str, typer.Option("--split", help="'validation' while something is chosen; 'test' once, at the end.")
]


def check_figures(
    data: Path | None, outputs: Sequence[Path | None], overwrite: bool = False, work: Path | None = None
) -> None:
    """Refuse outputs, or a folder to work in, inside the data; and outputs as `check_outputs` does, before any work.

    Raises:
        OutputError: naming the output.
    """
    from ..files.outputs import check_outputs

    if data is not None:
        for path in (*outputs, work):
            refuse_inside(data, path, "the data, which is never written to")
    check_outputs((data,), outputs, overwrite)


def refuse_inside(folder: Path, path: Path | None, what: str) -> None:
    """Refuse an output in a folder; `what` says which folder that is.

    Raises:
        OutputError: with the path.
    """
    from ..errors import OutputError

    if path is not None and path.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"Expected an output outside of {what}, got '{path}'.", "Choose another place.")


def write_figures(path: Path | None, figures: object) -> None:
    """Write figures as JSON, where a file was named.

    Raises:
        OutputError: it cannot be written.
    """
    from ..files.atomic import atomic_path

    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(format_json(figures) + "\n", encoding="utf-8")
