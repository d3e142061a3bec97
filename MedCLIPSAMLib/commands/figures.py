"""Figures of benchmarks and reproductions, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .json_output import format_json

FiguresFile = Annotated[Path | None, typer.Option("--json", help="Also write the figures as JSON.")]


def write_figures(path: Path | None, figures: object) -> None:
    """Write figures as JSON, where a file was named.

    Raises:
        OutputError: it cannot be written.
    """
    from ..files.atomic import atomic_path

    if path is not None:
        with atomic_path(path) as temporary:
            temporary.write_text(format_json(figures) + "\n", encoding="utf-8")
