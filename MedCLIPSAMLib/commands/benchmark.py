"""`medclipsam benchmark`: figures on phantoms and phantom volumes; the other benchmarks are separate files."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices import Strategy, parse_choice
from ..counted import counted
from .benchmark_cluster import cluster
from .benchmark_expected_dsc import expected_dsc
from .benchmark_ood import ood
from .benchmark_options import options
from .benchmark_real import real
from .benchmark_without_masks import without_masks
from .figures import FiguresFile, write_figures
from .option_groups import DemoModels, option_groups
from .options import Overwrite
from .progress import progress_bar
from .speed import speed
from .table import print_table

app = typer.Typer(help="Measure quality, speed and cost.", no_args_is_help=True)


@app.callback()
def _benchmark() -> None:
    """Measure quality, speed and cost."""


app.command()(speed)
app.command()(real)
app.command()(without_masks)
app.command()(options)
app.command()(ood)
app.command()(cluster)
app.command()(expected_dsc)


@app.command()
@option_groups
def phantoms(
    *,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms a task.")] = 50,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    split: Annotated[str, typer.Option(help="'test', or 'validation' while choosing settings.")] = "test",
    models: DemoModels,
) -> None:
    """Segment synthetic images of every task by text, with controls that could prove the figures wrong.

    Example: medclipsam benchmark phantoms --cases 10 --json figures.json
    """
    from ..experiments.phantom_benchmark import benchmark_phantoms
    from ..files.outputs import check_outputs

    check_outputs((), (out,), overwrite)
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        figures = benchmark_phantoms(segmenter, cases, split, context)
    print_table(phantom_table(figures, split))
    free = figures["lesion_free"]
    typer.echo(f"Lesion-free images that come out empty: {free['empty_fraction']:.3f} of {free['cases']}.")
    typer.echo(f"{figures['seconds_per_image']:.2f} s an image.")
    write_figures(out, figures)


@app.command()
@option_groups
def volumes(
    *,
    cases: Annotated[int, typer.Option(min=1, help="Phantom volumes a task.")] = 20,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    split: Annotated[str, typer.Option(help="'test', or 'validation' while choosing settings.")] = "test",
    strategies: Annotated[str, typer.Option(help="Strategies, separated by commas.")] = "slices,boxes,memory",
    models: DemoModels,
) -> None:
    """Segment phantom volumes by one prompt with every strategy, and correct one slice of the bad cases.

    Example: medclipsam benchmark volumes --cases 2 --strategies memory,boxes
    """
    from rich.table import Table

    from ..experiments.volume_benchmark import benchmark_volumes
    from ..files.outputs import check_outputs

    check_outputs((), (out,), overwrite)
    chosen = [parse_choice(Strategy, strategy, "strategy") for strategy in strategies.split(",")]
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        figures = benchmark_volumes(segmenter, cases, split, chosen, context)
    table = Table(title=f"Phantom volumes of the {split} split, 3-D DSC, mean over {counted(cases, 'case')}")
    for column in ("strategy", *figures["tasks"], "lesion-free empty", "s a volume"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for strategy, free in figures["lesion_free"].items():
        rows = [task["strategies"][strategy] for task in figures["tasks"].values()]
        seconds = sum(row["seconds"] for row in rows) / len(rows)
        table.add_row(
            strategy,
            *(f"{row['dsc']:.3f}" for row in rows),
            f"{free['empty_fraction']:.2f} of {free['cases']}",
            f"{seconds:.1f}",
        )
    print_table(table)
    corrected = figures["correction"]
    if corrected["cases"]:
        typer.echo(
            f"One corrected slice, propagated: {corrected['cases']} cases below 0.6, "
            f"median DSC {corrected['before']:.2f} before, {corrected['after']:.2f} after."
        )
    write_figures(out, figures)


def phantom_table(figures: dict, split: str = "test"):
    """Show the figures."""
    from rich.table import Table

    table = Table(title=f"Phantoms of the {split} split, mean over cases")
    for column in (
        "task",
        "cases",
        "coarse DSC",
        "DSC",
        "NSD (2 px)",
        "nothing found",
        "random box",
        "full box",
        "other saliency",
    ):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name, row in figures["tasks"].items():
        values = (row["coarse_dsc"], row["dsc"], row["nsd"])
        table.add_row(
            name,
            str(row["cases"]),
            *(f"{value:.3f}" for value in values),
            str(row["empty"]),
            *(f"{value:.3f}" for value in row["controls"].values()),
        )
    return table
