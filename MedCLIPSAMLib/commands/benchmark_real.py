"""`medclipsam benchmark real`: the text pipeline on real images with masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .figures import (
    FiguresFile,
    MaxCases,
    SetNames,
    SetsFolder,
    SplitName,
    check_figures,
    refuse_inside,
    write_figures,
)
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .parsing import parse_names
from .progress import progress_bar
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table


@option_groups
def real(
    data: SetsFolder,
    models: MeasuredModels,
    split: SplitName = "test",
    cases: MaxCases = 60,
    sets: SetNames = "",
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
    from ..evaluation.overlays import write_contact_sheet
    from ..experiments.real import benchmark_real, choose_sheet_rows

    data = data.resolve()
    sheet = data.parent.parent / f"{data.name}-{split}.png" if sheet is None else sheet
    refuse_inside(Path(__file__).resolve().parents[2], sheet, "the program's folder, where no patient's image belongs")
    check_figures(data, (out, sheet), overwrite)
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        found = benchmark_real(segmenter, data, split, cases, parse_names(sets), context)
    print_table(masks_table(found.figures, split))
    print_table(beside_table(found.figures))
    free = found.figures["tumor_free"]
    for kind, shares in free["by_kind"].items():
        typer.echo(f"{kind}: {shares['empty_fraction']:.3f} of {shares['cases']} come out empty.")
    write_figures(out, found.figures)
    write_contact_sheet(choose_sheet_rows(found.measured), sheet)
    typer.echo(f"Worst, median and best cases: {sheet}")


def masks_table(figures: dict, split: str) -> Table:
    """Show the agreement of the masks with the truth."""
    columns = {"coarse_dsc": "coarse DSC", "dsc": "DSC", "nsd": "NSD (2 px)"}
    rows = [
        (name, str(row["cases"]), *(_with_interval(row[key], row["intervals"][key]) for key in columns))
        for name, row in figures["sets"].items()
    ]
    title = f"Real images of the {split} split: mean (95 % interval of the mean)"
    return figures_table(title, ("set", "cases", *columns.values()), rows)


def beside_table(figures: dict) -> Table:
    """Show the DSC of SAM 2 with other boxes, the presence, and the time."""
    columns = "set", "true boxes", "loose boxes", "random box", "full box", "other saliency", "presence", "empty", "s"
    rows = []
    for name, row in figures["sets"].items():
        other = row["sam_true_box_dsc"], row["sam_loose_box_dsc"], *row["controls"].values(), row["presence"]
        rows.append((name, *(f"{value:.2f}" for value in other), str(row["empty"]), f"{row['seconds']:.2f}"))
    return figures_table("DSC of SAM 2 with other boxes; presence, nothing found, seconds per image", columns, rows)


def _with_interval(mean: float, interval: list[float]) -> str:
    return f"{mean:.3f} ({interval[0]:.2f}-{interval[1]:.2f})"
