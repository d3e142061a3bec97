"""Scores by case read back from the tables that `folders.write_csv` writes."""

from __future__ import annotations

from pathlib import Path

from ..counted import counted
from ..errors import InputError
from ..files.csv_text import read_table
from .folders import METRICS


def read_scores(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Read a table of scores as {(case, segment): {metric: value}}.

    Raises:
        InputError: unreadable, other columns, a value that is no number, or a case twice.
    """
    scores: dict[tuple[str, str], dict[str, float]] = {}
    for line, row in read_table(path):
        try:
            key, values = (row["case"], row["segment"]), {name: float(row[name]) for name in METRICS}
        except (KeyError, ValueError) as error:
            raise InputError(
                f"Expected a table of scores, got line {line} of '{path}': {type(error).__name__}: {error}.",
                "Write it by medclipsam evaluate --csv.",
            ) from error
        if key in scores:
            raise InputError(f"'{path}' has the case '{key[0]}' twice.", "Keep one line of it.")
        scores[key] = values
    if not scores:
        raise InputError(f"'{path}' holds no scores.", "Write it by medclipsam evaluate --csv.")
    return scores


def paired_values(first: Path, second: Path, metric: str) -> tuple[list[tuple[str, str]], list[float], list[float]]:
    """Pair the cases of two tables and their values, in the same order.

    Raises:
        InputError: see `read_scores`; or the tables have other cases.
    """
    first_scores, second_scores = read_scores(first), read_scores(second)
    if first_scores.keys() != second_scores.keys():
        lacking = sorted(first_scores.keys() ^ second_scores.keys())
        raise InputError(
            f"In one table only: {counted(len(lacking), 'case')}, such as '{lacking[0][0]}'.",
            "Score both runs against the same truth: a missing prediction counts as 0 and is not left out.",
        )
    keys = sorted(first_scores)
    return keys, [first_scores[key][metric] for key in keys], [second_scores[key][metric] for key in keys]
