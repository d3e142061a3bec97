"""`medclipsam benchmark real`: the text pipeline on real images with masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .figures import FiguresFile, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .progress import progress_bar

if TYPE_CHECKING:
    from rich.table import Table


@option_groups
def real(
    data: Annotated[
        Path,
        typer.Argument(help="Folder of the sets: SET/index.csv, SET/images, SET/masks."),
    ],
    models: MeasuredModels,
    split: Annotated[str, typer.Option(help="'test', or 'validation' while choosing settings.")] = "test",
    cases: Annotated[int, typer.Option(min=1, help="Max images of a set.")] = 60,
    sets: Annotated[str, typer.Option(help="Sets, separated by commas; all four when empty.")] = "",
    out: FiguresFile = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Image of the worst, median and best cases; by default DATA-SPLIT.png beside the folder that DATA "
            "lies in. Not in DATA, nor in the program's repository.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment the images of real sets by text, with controls that could prove the figures wrong.

    Example: medclipsam benchmark real ~/real --split validation --cases 30 --json figures.json
    """
    from rich.console import Console

    from ..evaluation.overlays import contact_sheet
    from ..experiments.real import benchmark_real, sheet_rows
    from ..experiments.real_sets import REAL_SETS
    from ..files.outputs import check_outputs

    data = data.resolve()
    sheet = data.parent.parent / f"{data.name}-{split}.png" if sheet is None else sheet
    refuse_inside(data, sheet, "the data, which is never written to")
    refuse_inside(data, out, "the data, which is never written to")
    refuse_inside(Path(__file__).resolve().parents[2], sheet, "the program's folder, where no patient's image belongs")
    check_outputs((data,), (out, sheet), overwrite)
    segmenter = models.load_measured()
    names = [name.strip() for name in sets.split(",")] if sets else list(REAL_SETS)
    with progress_bar("measuring", unit="count") as context:
        found = benchmark_real(segmenter, data, split, cases, names, context)
    console = Console(markup=False)
    console.print(masks_table(found.figures, split))
    console.print(beside_table(found.figures))
    free = found.figures["tumor_free"]
    for kind, shares in free["by_kind"].items():
        typer.echo(f"{kind}: {shares['empty_fraction']:.3f} of {shares['cases']} come out empty.")
    contact_sheet(sheet_rows(found.measured), sheet)
    typer.echo(f"Worst, median and best cases: {sheet}")
    write_figures(out, found.figures)


def refuse_inside(folder: Path, path: Path | None, what: str) -> None:
    """Refuse an output in a folder; `what` says which folder that is.

    Raises:
        OutputError: with the path.
    """
    from ..errors import OutputError

    if path is not None and path.resolve().is_relative_to(folder):
        raise OutputError(f"Expected an output outside of {what}, got '{path}'.", "Choose another place.")


def masks_table(figures: dict, split: str) -> Table:
    """Show how well the masks agree with the truth."""
    columns = {"coarse_dsc": "coarse DSC", "dsc": "DSC", "nsd": "NSD (2 px)"}
    rows = {
        name: (str(row["cases"]), *(_with_interval(row[key], row["intervals"][key]) for key in columns))
        for name, row in figures["sets"].items()
    }
    return _table(
        f"Real images of the {split} split: mean (95 % interval of the mean)", ("cases", *columns.values()), rows
    )


def beside_table(figures: dict) -> Table:
    """Show what SAM 2 does with other boxes, presence, and the time."""
    truth = ("sam_true_box_dsc", "sam_loose_box_dsc")
    columns = "true boxes", "loose boxes", "random box", "full box", "other saliency", "presence", "empty", "s"
    rows = {
        name: (
            *(f"{row[key]:.2f}" for key in truth),
            *(f"{value:.2f}" for value in row["controls"].values()),
            f"{row['presence']:.2f}",
            str(row["empty"]),
            f"{row['seconds']:.2f}",
        )
        for name, row in figures["sets"].items()
    }
    return _table("DSC of SAM 2 with other boxes; presence, nothing found, seconds an image", columns, rows)


def _table(title: str, columns: tuple[str, ...], rows: dict[str, tuple[str, ...]]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("set", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _with_interval(mean: float, interval: list[float]) -> str:
    return f"{mean:.3f} ({interval[0]:.2f}-{interval[1]:.2f})"
