"""`medclipsam series`: the DICOM series of a folder, to choose one by `--series`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson


def series(
    folder: Annotated[
        Path, typer.Argument(help="DICOM folder with its sub-folders, or a zip file.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """List the DICOM series of a folder: number, description, what each is, size, spacing, date and UID.

    Example: medclipsam series study --json
    """
    from ..volumes.dicom_list import list_series

    found, notes = list_series(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "notes": notes, "series": [asdict(each) for each in found]}, indent=1))
        return
    for each in found:
        number = f"{each.number}  " if each.number else ""
        size = " x ".join(str(extent) for extent in each.size)
        spacing = " x ".join(f"{step:.4g}" for step in each.spacing)
        facts = [each.modality, each.what, f"{size} voxels" if size else "", f"{spacing} mm" if spacing else ""]
        typer.echo(f"{number}{each.description or 'no description'}")
        typer.echo(f"    {', '.join(fact for fact in (*facts, each.date) if fact)}")
        for rank, phase in enumerate(each.phases, 1):
            typer.echo(f"    phase {rank}: {phase}")
        typer.echo(f"    {each.uid}")
    for note in notes:
        typer.echo(f"note: {note}", err=True)
