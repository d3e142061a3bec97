"""`medclipsam compare`: two runs on the same cases, with a paired test and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..counted import counted
from .options import AsJson, Overwrite
from .table import print_table


def compare(
    first: Annotated[Path, typer.Argument(help="Scores of a run, by medclipsam evaluate --csv.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Scores of another run on the same cases.", show_default=False)],
    plot: Annotated[Path | None, typer.Option(help="Also draw DSC case by case (.png).", show_default=False)] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs case by case: is the second better than the first, and how sure is that?

    Example: medclipsam compare first.csv second.csv --plot pairs.png
    """
    from rich.table import Table

    from ..evaluation.compare import compare_paired
    from ..evaluation.folders import METRICS
    from ..evaluation.plots import plot_pairs
    from ..evaluation.tables import paired_values
    from ..files.outputs import check_outputs
    from ..volumes.write import check_output

    if plot is not None:
        check_output(plot, (".png",))
    check_outputs((first, second), (plot,), overwrite)
    results = {}
    for metric in METRICS:
        _, first_values, second_values = paired_values(first, second, metric)
        results[metric] = compare_paired(first_values, second_values)
        if metric == "dsc" and plot is not None:
            plot_pairs(plot, first_values, second_values, (first.stem, second.stem))
    if as_json:
        print(json.dumps({metric: asdict(result) for metric, result in results.items()}))
        return
    table = Table(title=f"{second.stem} minus {first.stem}, case by case")
    for column in ("", "first", "second", "difference", "95 % interval", "p (Wilcoxon)", "higher", "lower", "cases"):
        table.add_column(column, justify="right" if column else "left")
    for metric, comparison in results.items():
        means = (f"{comparison.first:.3f}", f"{comparison.second:.3f}", f"{comparison.difference:+.3f}")
        interval = f"{comparison.low:+.3f} to {comparison.high:+.3f}"
        table.add_row(
            metric,
            *means,
            interval,
            f"{comparison.p:.2g}",
            str(comparison.better),
            str(comparison.worse),
            str(comparison.n),
        )
    print_table(table)
    if left_out := results["dsc"].n - results["hd95"].n:
        cases = counted(results["dsc"].n, "case")
        typer.echo(f"HD95 leaves out {left_out} of {cases}, in which a mask is empty or a single row.")
