"""`medclipsam evaluate`: score masks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..counted import counted
from .json_output import print_json
from .options import AsJson, Overwrite, Suffix
from .progress import progress_bar
from .score_rows import metric_rows, segment_rows
from .table import figures_table, print_table

if TYPE_CHECKING:
    from ..evaluation.folders import Evaluation


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="Folder of predicted masks, one mask, or a CSV with the columns prediction,truth.")
    ],
    truths: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of true masks with the same names, or one mask; endings such as '_mask', '_gt' are ignored."
        ),
    ] = None,
    suffix: Suffix = "",
    tolerance: Annotated[
        float, typer.Option(min=0, help="Tolerance of the NSD in mm, or in pixels if a spacing is unknown, as for PNG.")
    ] = 2.0,
    csv: Annotated[Path | None, typer.Option(help="Write the score of each case to this file.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Score predicted masks against true ones: DSC, NSD, HD95 and volumes, with 95 % confidence intervals.

    The formats may differ. A missing prediction scores 0; a case that cannot be scored is reported (exit code 1).

    Example: medclipsam evaluate predictions truth --csv scores.csv
    """
    from ..errors import InputError
    from ..evaluation.folders import evaluate as score
    from ..evaluation.folders import write_csv
    from ..evaluation.pairs import pairs_of_files, pairs_of_folders, pairs_of_table
    from ..files.outputs import check_outputs
    from ..volumes.dicom_header import is_dicom
    from ..volumes.suffixes import IMAGE_SUFFIXES

    check_outputs((predictions, truths), (csv,), overwrite)
    absent = next((path for path in (predictions, truths) if path is not None and not path.exists()), None)
    if absent is not None:
        raise InputError(f"There is no file or folder '{absent}'.", "Check the path.")
    if truths is not None and (predictions.is_file() or truths.is_file()):
        pairs = pairs_of_files(predictions, truths)
    elif truths is not None:
        pairs = pairs_of_folders(predictions, truths, suffix)
    elif predictions.is_dir() or predictions.name.lower().endswith(IMAGE_SUFFIXES) or is_dicom(predictions):
        raise InputError(
            f"Expected a table, as only one path was given, got '{predictions}'.",
            "Give the true masks after it, or a CSV with the columns prediction,truth.",
        )
    else:
        pairs = pairs_of_table(predictions)
    with progress_bar("scoring", quiet=as_json, unit="count") as context:
        evaluation = score(pairs, tolerance, context)
    if csv is not None:
        write_csv(evaluation, csv)
    if as_json:
        print_json(_as_dict(evaluation))
    else:
        _print_table(evaluation)
    for note in evaluation.notes:
        typer.echo(f"note: {note}", err=True)
    for case, why in evaluation.failed.items():
        typer.echo(f"failed: {case}: {why}".replace("\n", " "), err=True)
    if evaluation.failed:
        raise typer.Exit(1)


def _metrics(evaluation: Evaluation) -> dict[str, tuple[str, str, str | None]]:
    return metric_rows(evaluation.units) | {"difference_ml": ("volume difference, ml", "difference_ml", None)}


def _print_table(evaluation: Evaluation) -> None:
    from ..evaluation.folders import DIFFERENCE, EMPTY, ROW

    title = f"NSD at a tolerance of {evaluation.tolerance:g} ({' or '.join(evaluation.units)})"
    table = figures_table(title, ("segment", "metric", "mean", "95 % CI", "sd", "median", "n"), words=2)
    for heading, segment in segment_rows(evaluation.segments):
        for name, metric, unit in _metrics(evaluation).values():
            found = evaluation.summary(metric, segment, unit)
            interval = f"{_number(found.low)} to {_number(found.high)}" if math.isfinite(found.low) else "-"
            numbers = (_number(found.mean), interval, _number(found.sd), _number(found.median), str(found.n))
            if found.n or metric != DIFFERENCE:
                table.add_row(heading, name, *numbers)
        table.add_section()
    print_table(table)
    scores = evaluation.scores
    infinite = sum(math.isinf(score.hd95) for score in scores)
    filled = [score.dsc for score in scores if score.note != EMPTY]
    if infinite:
        typer.echo(
            f"HD95 leaves out {infinite} of {counted(len(scores), 'mask')}: the mask or its truth is empty or missing."
        )
    if len(filled) < len(scores):
        rest = f", and the mean DSC of the others {sum(filled) / len(filled):.4f}" if filled else ""
        typer.echo(
            f"Empty in both: {len(scores) - len(filled)} of {counted(len(scores), 'mask')}. "
            f"Their DSC and NSD are 1, and their HD95 is left out{rest}."
        )
    if rows := sum(score.note == ROW for score in scores):
        typer.echo(f"NSD and HD95 leave out {counted(rows, 'mask')} of a single row of pixels, without a contour.")
    unmatched = {
        "No prediction (scored 0)": evaluation.missing,
        "No truth (not scored)": evaluation.extra,
        "Segments without truth (not scored)": evaluation.extra_segments,
    }
    for heading, names in unmatched.items():
        if names:
            typer.echo(f"{heading}: {', '.join(names)}")


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _as_dict(evaluation: Evaluation) -> dict:
    groups = {
        title: {
            key: vars(evaluation.summary(metric, segment, unit))
            for key, (_, metric, unit) in _metrics(evaluation).items()
        }
        for title, segment in segment_rows(evaluation.segments)
    }
    return {
        "tolerance": evaluation.tolerance,
        "summary": groups,
        "cases": [vars(score) for score in evaluation.scores],
        "missing": evaluation.missing,
        "extra": evaluation.extra,
        "extra_segments": evaluation.extra_segments,
        "failed": evaluation.failed,
        "notes": evaluation.notes,
    }
