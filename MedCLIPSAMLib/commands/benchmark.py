"""`medclipsam benchmark`: figures on phantoms and phantom volumes; the other benchmarks are separate files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..choices import Strategy, parse_choice
from ..counted import counted
from .benchmark_cluster import cluster
from .benchmark_expected_dsc import expected_dsc
from .benchmark_ood import ood
from .benchmark_options import options
from .benchmark_real import real
from .figures import FiguresFile, SplitName, check_figures, write_figures
from .option_groups import DemoModels, option_groups
from .options import Overwrite
from .parsing import parse_names
from .progress import progress_bar
from .speed import speed
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Measure quality, speed and cost.", no_args_is_help=True)


for command in (speed, real, options, ood, cluster, expected_dsc):
    app.command()(command)
app.command("without-masks", hidden=True, deprecated=True)(options)


@app.command()
@option_groups
def phantoms(
    *,
    cases: Annotated[int, typer.Option(min=1, help="Phantoms per task.")] = 50,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    split: SplitName = "test",
    models: DemoModels,
) -> None:
    """Segment synthetic images of every task by text, with controls that could prove the figures wrong.

    Example: medclipsam benchmark phantoms --cases 10 --json figures.json
    """
    from ..experiments.phantom_benchmark import benchmark_phantoms

    check_figures(None, (out,), overwrite)
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        figures = benchmark_phantoms(segmenter, cases, split, context)
    print_table(phantom_table(figures, split))
    free = figures["lesion_free"]
    typer.echo(f"Lesion-free images that come out empty: {free['empty_fraction']:.3f} of {free['cases']}.")
    typer.echo(f"{figures['seconds_per_image']:.2f} s per image.")
    write_figures(out, figures)


@app.command()
@option_groups
def volumes(
    *,
    cases: Annotated[int, typer.Option(min=1, help="Phantom volumes per task.")] = 20,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    split: SplitName = "test",
    strategies: Annotated[str, typer.Option(help="Strategies, separated by commas.")] = "slices,boxes,memory",
    models: DemoModels,
) -> None:
    """Segment phantom volumes by one prompt with every strategy, and correct one slice of the bad cases.

    Example: medclipsam benchmark volumes --cases 2 --strategies memory,boxes
    """
    from ..experiments.volume_benchmark import benchmark_volumes

    check_figures(None, (out,), overwrite)
    chosen = [parse_choice(Strategy, name, "strategy") for name in dict.fromkeys(parse_names(strategies) or [""])]
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        figures = benchmark_volumes(segmenter, cases, split, chosen, context)
    table = figures_table(
        f"Phantom volumes of the {split} split, 3-D DSC, mean over {counted(cases, 'case')}",
        ("strategy", *figures["tasks"], "lesion-free empty", "s per volume"),
    )
    for strategy, free in figures["lesion_free"].items():
        rows = [task["strategies"][strategy] for task in figures["tasks"].values()]
        empty = f"{free['empty_fraction']:.2f} of {free['cases']}"
        seconds = f"{sum(row['seconds'] for row in rows) / len(rows):.1f}"
        table.add_row(strategy, *(f"{row['dsc']:.3f}" for row in rows), empty, seconds)
    print_table(table)
    corrected = figures["correction"]
    if corrected["cases"]:
        typer.echo(
            f"One corrected slice, propagated: {corrected['cases']} cases with a DSC below 0.6, "
            f"median DSC {corrected['before']:.2f} before, {corrected['after']:.2f} after."
        )
    write_figures(out, figures)


def phantom_table(figures: dict, split: str = "test") -> Table:
    """Show the figures of each task."""
    columns = ("coarse DSC", "DSC", "NSD (2 px)", "nothing found", "random box", "full box", "other saliency")
    rows = []
    for name, row in figures["tasks"].items():
        scores = (f"{row[key]:.3f}" for key in ("coarse_dsc", "dsc", "nsd"))
        controls = (f"{value:.3f}" for value in row["controls"].values())
        rows.append((name, str(row["cases"]), *scores, str(row["empty"]), *controls))
    return figures_table(f"Phantoms of the {split} split, mean over cases", ("task", "cases", *columns), rows)
