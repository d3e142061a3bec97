"""`medclipsam models`: list models, show where they are, download them, and remove one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import OutputError
from .json_output import format_json, print_json
from .options import AsJson, ModelsDir, complete_model
from .progress import progress_bar
from .table import print_table

app = typer.Typer(help="List, find, download and remove models.", no_args_is_help=True)

Checksums = Annotated[
    bool, typer.Option("--checksums", help="Compare the SHA-256 of all files; load models that have none.")
]
AnyModel = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_model(), help="Name of the model (medclipsam models list).", show_default=False
    ),
]
KindOption = Annotated[
    Literal["clip", "sam"] | None,
    typer.Option(help="Of two models with the same name, the one for text and images (clip) or SAM 2 (sam)."),
]


@app.command("list")
def list_models(models_dir: ModelsDir = None, checksums: Checksums = False, as_json: AsJson = False) -> None:
    """List the models, their licenses and whether they are on this machine.

    Example: medclipsam models list --checksums
    """
    from rich.table import Table

    if checksums:
        from ..models.check import check_models

        found = check_models(models_dir)
    else:
        from ..models.store import statuses

        found = statuses(models_dir)
    if any(status.model.trained for status in found):
        from ..segmentation.settings import with_checked_settings

        found = with_checked_settings(found)
    if as_json:
        print_json([status.as_dict() for status in found])
        return
    table = Table()
    for heading in ("name", "kind", "state", "download", "license", "purpose"):
        table.add_column(heading, no_wrap=heading in ("name", "download"))
    for status in found:
        model = status.model
        size = f"{model.size / 1e6:.0f} MB" if model.size and not model.shipped else ""
        state = f"{status.state}: {status.detail}" if status.detail else status.state
        table.add_row(model.name, model.kind, state, size, model.license, model.purpose)
    print_table(table)


@app.command()
def where(name: AnyModel, kind: KindOption = None, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """Print the folder of a model; fail if the model cannot be used.

    Example: medclipsam models where biomedclip
    """
    from ..models.store import find, find_model_folder, status

    model = find(name, kind, models_dir)
    folder = find_model_folder(model, models_dir)
    typer.echo(format_json(status(model, models_dir).as_dict()) if as_json else str(folder))


@app.command()
def download(name: AnyModel, kind: KindOption = None) -> None:
    """Download a model into the user's cache; an interrupted download is continued.

    Example: medclipsam models download biomedclip
    """
    from ..models.catalogue import find
    from ..models.download import download as fetch

    with progress_bar(name, unit="bytes") as context:
        folder = fetch(find(name, kind), context=context)
    typer.echo(folder)


@app.command()
def remove(
    name: AnyModel,
    models_dir: ModelsDir = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without this, only say what would be removed.")
    ] = False,
) -> None:
    """Remove a model of your own: its folder, not the run that trained it, and never one of the catalogue.

    Example: medclipsam models remove my-clip --yes
    """
    from ..files.folder import remove_folder
    from ..models.store import own_folder

    folder = own_folder(name, models_dir)
    if not yes:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        raise OutputError(f"'{folder}' with {size / 1e6:.0f} MB would be removed.", "Add --yes to remove it.")
    remove_folder(folder)
    typer.echo(f"Removed {folder}")


@app.command()
def export(
    name: AnyModel,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new folder.", show_default=False)],
    layout: Annotated[Literal["open-clip", "hugging-face"], typer.Option(help="Layout of the files.")] = "open-clip",
    models_dir: ModelsDir = None,
) -> None:
    """Write a text-image model into a folder that open_clip or Hugging Face programs load.

    Example: medclipsam models export biomedclip -o folder --layout hugging-face
    """
    from ..finetune.publish import export_model

    typer.echo(export_model(name, layout, out, models_dir))
