"""`medclipsam evaluate`: score a folder of masks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Overwrite
from .progress import progress_bar

if TYPE_CHECKING:
    from ..evaluation.folders import Evaluation

TITLES = {"dsc": "DSC", "nsd": "NSD", "hd95": "HD95"}


def evaluate(
    pred_dir: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    truth_dir: Annotated[Path, typer.Argument(help="Folder of true masks with the same names.")],
    tolerance: Annotated[float, typer.Option(min=0, help="Of the NSD: mm, or pixels for pictures.")] = 2.0,
    csv: Annotated[Path | None, typer.Option(help="Write the score of each case to this file.")] = None,
    overwrite: Overwrite = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Score predicted masks against true ones: DSC, NSD and HD95 with 95 % confidence intervals.

    Files are matched by name; the formats may differ. A missing prediction scores 0.
    """
    from ..evaluation.folders import evaluate_folders, write_csv
    from ..files.outputs import check_outputs

    check_outputs((pred_dir, truth_dir), (csv,), overwrite)
    with progress_bar("scoring", unit="count") as context:
        evaluation = evaluate_folders(pred_dir, truth_dir, tolerance, context)
    if csv is not None:
        write_csv(evaluation, csv)
    if as_json:
        typer.echo(json.dumps(_as_dict(evaluation), indent=2))
    else:
        _print_table(evaluation)


def _groups(evaluation: Evaluation) -> list[tuple[str, str | None]]:
    """(title, segment) of the rows: each segment, and all of them where there are several."""
    several = len(evaluation.segments) > 1
    return [(name, name) for name in evaluation.segments] + ([("all", None)] if several else [])


def _print_table(evaluation: Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"NSD at a tolerance of {evaluation.tolerance:g}")
    for heading in ("segment", "metric", "mean", "95 % CI", "sd", "median", "n"):
        table.add_column(heading, justify="left" if heading in ("segment", "metric") else "right")
    for title, segment in _groups(evaluation):
        for metric, name in TITLES.items():
            found = evaluation.summary(metric, segment)
            interval = f"{_number(found.low)} to {_number(found.high)}" if math.isfinite(found.low) else "-"
            numbers = (_number(found.mean), interval, _number(found.sd), _number(found.median), str(found.n))
            table.add_row(title, name, *numbers, end_section=metric == "hd95")
    console = Console(markup=False)
    console.print(table)
    if any(math.isinf(score.hd95) for score in evaluation.scores):
        console.print("HD95 leaves out cases where one of the two masks is empty or missing.", markup=False)
    unmatched = {"No prediction (scored 0)": evaluation.missing, "No truth (not scored)": evaluation.extra}
    for heading, names in unmatched.items():
        if names:
            console.print(f"{heading}: {', '.join(names)}", markup=False)


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
    }


def _finite(values: dict) -> dict:
    """NaN and infinity, which JSON does not know, as null."""
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in values.items()}
