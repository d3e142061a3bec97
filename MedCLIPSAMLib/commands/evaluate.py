"""`medclipsam evaluate`: score masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Overwrite, Suffix
from .progress import progress_bar
from .table import print_table

if TYPE_CHECKING:
    from ..evaluation.folders import Evaluation

TITLES = {"dsc": "DSC", "nsd": "NSD", "hd95": "HD95", "difference_ml": "volume difference, ml"}


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of predicted masks, or a CSV with the columns prediction,truth.")
    ],
    truths: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of true masks of the same names; '_mask', '_gt', '_seg' at their ends do not count."
        ),
    ] = None,
    suffix: Suffix = "",
    tolerance: Annotated[float, typer.Option(min=0, help="Of the NSD: mm, or pixels for images.")] = 2.0,
    csv: Annotated[Path | None, typer.Option(help="Write the score of each case to this file.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score predicted masks against true ones: DSC, NSD, HD95 and volumes, with 95 % confidence intervals.

    The formats may differ. A missing prediction scores 0; a case that cannot be scored is a line, and the exit code 1.

    Example: medclipsam evaluate predictions truth --csv scores.csv
    """
    from ..errors import InputError
    from ..evaluation.folders import evaluate as score
    from ..evaluation.folders import write_csv
    from ..evaluation.pairs import pairs_of_folders, pairs_of_table
    from ..files.outputs import check_outputs

    check_outputs((predictions, truths), (csv,), overwrite)
    if truths is not None:
        pairs = pairs_of_folders(predictions, truths, suffix)
    elif predictions.is_file():
        pairs = pairs_of_table(predictions)
    else:
        raise InputError(f"Expected a table or two folders, got '{predictions}'.", "Give a CSV with prediction,truth.")
    with progress_bar("scoring", quiet=as_json, unit="count") as context:
        evaluation = score(pairs, tolerance, context)
    if csv is not None:
        write_csv(evaluation, csv)
    if as_json:
        typer.echo(json.dumps(_as_dict(evaluation), indent=2))
    else:
        _print_table(evaluation)
    for note in evaluation.notes:
        typer.echo(f"note: {note}", err=True)
    for case, why in evaluation.failed.items():
        typer.echo(f"failed: {case}: {why}".replace("\n", " "), err=True)
    if evaluation.failed:
        raise typer.Exit(1)


def _groups(evaluation: Evaluation) -> list[tuple[str, str | None]]:
    """List (title, segment) of the rows: each segment, and all of them where there are several."""
    several = len(evaluation.segments) > 1
    return [(name, name) for name in evaluation.segments] + ([("all", None)] if several else [])


def _print_table(evaluation: Evaluation) -> None:
    from rich.table import Table

    from ..evaluation.folders import DIFFERENCE

    table = Table(title=f"NSD at a tolerance of {evaluation.tolerance:g}")
    for heading in ("segment", "metric", "mean", "95 % CI", "sd", "median", "n"):
        table.add_column(heading, justify="left" if heading in ("segment", "metric") else "right")
    for title, segment in _groups(evaluation):
        for metric, name in TITLES.items():
            found = evaluation.summary(metric, segment)
            interval = f"{_number(found.low)} to {_number(found.high)}" if math.isfinite(found.low) else "-"
            numbers = (_number(found.mean), interval, _number(found.sd), _number(found.median), str(found.n))
            if found.n or metric != DIFFERENCE:
                table.add_row(title, name, *numbers)
        table.add_section()
    print_table(table)
    if any(math.isinf(score.hd95) for score in evaluation.scores):
        typer.echo("HD95 leaves out cases where one of the two masks is empty or missing.")
    unmatched = {"No prediction (scored 0)": evaluation.missing, "No truth (not scored)": evaluation.extra}
    for heading, names in unmatched.items():
        if names:
            typer.echo(f"{heading}: {', '.join(names)}")


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _as_dict(evaluation: Evaluation) -> dict:
    groups = {
        title: {metric: _finite(vars(evaluation.summary(metric, segment))) for metric in TITLES}
        for title, segment in _groups(evaluation)
    }
    return {
        "tolerance": evaluation.tolerance,
        "summary": groups,
        "cases": [_finite(vars(score)) for score in evaluation.scores],
        "missing": evaluation.missing,
        "extra": evaluation.extra,
        "failed": evaluation.failed,
        "notes": evaluation.notes,
    }


def _finite(values: dict) -> dict:
    """Replace NaN and infinity, which JSON does not have, by null."""
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in values.items()}
