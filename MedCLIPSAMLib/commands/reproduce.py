"""`medclipsam reproduce`: test the paper's claims."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from .figures import FiguresFile, check_figures, write_figures
from .options import Overwrite
from .progress import progress_bar
from .reproduce_filters import filters
from .reproduce_paper import paper
from .reproduce_weak import weak
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Test the paper's claims.", no_args_is_help=True)


for command in (paper, weak, filters):
    app.command()(command)


@app.command()
def finetune(
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each loss.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="Trainings side by side, a core each.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A trial of a minute whose figures mean nothing.")] = False,
) -> None:
    """Fine-tune the demo CLIP on phantoms by DHN-NCE and by other losses (an hour or two on two cores).

    Example: medclipsam reproduce finetune --quick --json figures.json
    """
    from ..experiments import reproduce_finetune as trial

    check_figures(None, (out,), overwrite)
    plan = replace(trial.FineTunePlan(), seeds=tuple(range(1, seeds + 1)))
    with progress_bar("working", unit="count") as context:
        figures = trial.reproduce(trial.quick(plan) if quick else plan, processes, context)
    for table in (search_table(figures), result_table(figures)):
        print_table(table)
    write_figures(out, figures)


def search_table(figures: dict) -> Table:
    """Show validation retrieval at every temperature."""
    temperatures = list(next(iter(figures["search"].values())))
    return figures_table(
        "Top-1 retrieval on validation pairs, first seed; the best temperature is used",
        ("loss", *(f"{float(temperature):g}" for temperature in temperatures)),
        [
            (loss, *(f"{tops[temperature]:.3f}" for temperature in temperatures))
            for loss, tops in figures["search"].items()
        ],
    )


def result_table(figures: dict) -> Table:
    """Show test figures as mean and standard deviation over seeds, and the differences from InfoNCE seed by seed."""
    import numpy as np

    plan = figures["plan"]
    names = {"image_to_text": "image-text top-1", "text_to_image": "text-image top-1"}
    names |= {"coarse_dsc": "coarse DSC", "dsc": "DSC"}
    table = figures_table(
        f"Test split: {plan['test']} pairs in batches of 50 (chance 0.020), {plan['cases']} phantoms per task, "
        f"{len(plan['seeds'])} seeds",
        ("loss", "temperature", *names.values(), "top-1 minus InfoNCE's", "DSC minus InfoNCE's"),
    )
    values = lambda row, name: np.array([scores[name] for scores in row["seeds"]])
    against = figures["rows"]["info-nce"]
    for loss, row in figures["rows"].items():
        several = len(row["seeds"]) > 1
        cells = [
            f"{values(row, name).mean():.3f}" + (f" ± {values(row, name).std(ddof=1):.3f}" if several else "")
            for name in names
        ]
        gains = [
            f"{gain.mean():+.3f} ± {gain.std(ddof=1):.3f}"
            for name in ("top1", "dsc")
            if several and loss != "info-nce"
            for gain in [values(row, name) - values(against, name)]
        ]
        temperature = f"{row['temperature']:g}" if row["temperature"] else ""
        table.add_row(loss, temperature, *cells, *(gains or ["", ""]))
    return table
