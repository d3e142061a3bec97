"""Write the figures of benchmarks and reproductions to a file; and options that several of these commands share."""

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
    """Refuse, before any work, outputs or a working folder inside the data, and outputs that `check_outputs` refuses.

    Raises:
        OutputError: an output is refused.
    """
    from ..files.outputs import check_outputs

    if data is not None:
        for path in (*outputs, work):
            refuse_inside(data, path, "the data, which is never written to")
    check_outputs((data,), outputs, overwrite)


def refuse_inside(folder: Path, path: Path | None, what: str) -> None:
    """Refuse an output inside a folder.

    Args:
        what: description of the folder, for the error.

    Raises:
        OutputError: the path is inside the folder.
    """
    from ..errors import OutputError

    if path is not None and path.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"Expected an output outside of {what}, got '{path}'.", "Choose another place.")


def write_figures(path: Path | None, figures: object) -> None:
    """Write figures as JSON if a file was named.

    Raises:
        OutputError: the file cannot be written.
    """
    from ..files.atomic import atomic_path

    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(format_json(figures) + "\n", encoding="utf-8")
