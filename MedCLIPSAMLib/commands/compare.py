"""`medclipsam compare`: two runs on the same cases, with a paired test and a plot."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .json_output import print_json
from .options import AsJson, Overwrite
from .score_rows import metric_rows, segment_rows
from .table import figures_table, print_table

if TYPE_CHECKING:
    from ..evaluation.compare import PairedDifference
    from ..evaluation.tables import PairedScores


def compare(
    first: Annotated[Path, typer.Argument(help="Scores of a run, by medclipsam evaluate --csv.", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Scores of another run on the same cases.", show_default=False)],
    plot: Annotated[Path | None, typer.Option(help="Also draw DSC case by case (.png).", show_default=False)] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare two runs case by case: is the second better than the first, and how sure is that?

    With several segments, each is compared, and also the mean over all segments of each case.

    Example: medclipsam compare first.csv second.csv --plot pairs.png
    """
    from ..evaluation.compare import compare_paired
    from ..evaluation.plots import plot_pairs
    from ..evaluation.tables import pair_scores
    from ..files.outputs import check_outputs
    from ..volumes.write import check_output

    if plot is not None:
        check_output(plot, (".png",))
    check_outputs((first, second), (plot,), overwrite)
    scores = pair_scores(first, second)
    if plot is not None:
        dsc = scores.pairs("dsc")
        plot_pairs(plot, [one for _, one, _ in dsc], [two for _, _, two in dsc], (first.stem, second.stem))
    differences: dict[str, dict[str, PairedDifference]] = {}
    for title, segment in segment_rows(scores.segments):
        differences[title] = {}
        for key, (_, metric, unit) in metric_rows(scores.units).items():
            pairs = scores.pairs(metric, segment, unit)
            differences[title][key] = compare_paired([one for _, one, _ in pairs], [two for _, _, two in pairs])
    if as_json:
        rows = {title: {key: asdict(value) for key, value in row.items()} for title, row in differences.items()}
        print_json({"differences": rows, "notes": scores.notes})
    else:
        _print_table(f"{second.stem} minus {first.stem}, case by case", differences, scores)
    for note in scores.notes:
        typer.echo(f"note: {note}", err=True)


def _print_table(title: str, differences: dict[str, dict[str, PairedDifference]], scores: PairedScores) -> None:
    titles = {key: heading for key, (heading, _, _) in metric_rows(scores.units).items()}
    headings = ("difference", "95 % interval", "p (Wilcoxon)", "higher", "lower", "cases")
    table = figures_table(title, ("segment", "metric", "first", "second", *headings), words=2)
    for segment, row in differences.items():
        for key, found in row.items():
            table.add_row(
                segment,
                titles[key],
                f"{found.first:.3f}",
                f"{found.second:.3f}",
                f"{found.difference:+.3f}",
                f"{found.low:+.3f} to {found.high:+.3f}" if math.isfinite(found.low) else "-",
                f"{found.p:.2g}" if math.isfinite(found.p) else "-",
                str(found.higher),
                str(found.lower),
                str(found.n),
            )
        table.add_section()
    print_table(table)
