"""`medclipsam series`: the DICOM series of a folder, to choose one by `--series`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .json_output import print_json
from .options import AsJson


def series(
    folder: Annotated[
        Path, typer.Argument(help="DICOM folder with its sub-folders, a zip file, or one file.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """List the DICOM series of a folder: number, description, what each is, size, spacing, date and UID.

    Example: medclipsam series study --json
    """
    from ..files.regular import check_regular
    from ..volumes.dicom_list import list_series

    check_regular(folder)
    found, notes = list_series(folder)
    if as_json:
        print_json({"folder": str(folder), "notes": notes, "series": [asdict(item) for item in found]})
        return
    for item in found:
        number = f"{item.number}  " if item.number else ""
        size = " x ".join(str(extent) for extent in item.size)
        spacing = " x ".join(f"{step:.4g}" for step in item.spacing)
        facts = [item.modality, item.what, f"{size} voxels" if size else "", f"{spacing} mm" if spacing else ""]
        typer.echo(f"{number}{item.description or 'no description'}")
        typer.echo(f"    {', '.join(fact for fact in (*facts, item.date) if fact)}")
        for rank, phase in enumerate(item.phases, 1):
            typer.echo(f"    phase {rank}: {phase}")
        typer.echo(f"    {item.uid}")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
