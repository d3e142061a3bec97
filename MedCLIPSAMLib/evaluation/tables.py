"""Scores by case, read back from the tables that `folders.write_csv` writes, and pairs of such tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..counted import counted
from ..errors import InputError
from ..files.csv_text import read_table
from .folders import METRICS

LENGTHS = ("nsd", "hd95")
"""Metrics that depend on the unit of lengths."""
REMEDY = "Write it with medclipsam evaluate --csv."

Key = tuple[str, str]
"""Case and segment."""
Pairs = list[tuple[str, float, float]]
"""Case, and the values of the two runs."""


@dataclass(frozen=True)
class ScoreRow:
    """Scores of one segment of one case.

    Attributes:
        values: by metric.
        unit: unit of lengths, "mm" or "pixels".
        tolerance: tolerance of the NSD, in that unit; None if the table does not have it.
    """

    values: dict[str, float]
    unit: str
    tolerance: float | None


@dataclass(frozen=True)
class PairedScores:
    """Two tables of scores on the same cases.

    Attributes:
        first, second: rows by case and segment; both have the same keys.
        notes: sentences for the user on values that cannot be compared.
    """

    first: dict[Key, ScoreRow]
    second: dict[Key, ScoreRow]
    notes: list[str]

    @property
    def segments(self) -> list[str]:
        """Names of the segments, in alphabetical order."""
        return sorted({segment for _, segment in self.first})

    @property
    def units(self) -> list[str]:
        """Units of length that both tables use for the same case and segment."""
        return sorted({row.unit for key, row in self.first.items() if self.second[key].unit == row.unit})

    def pairs(self, metric: str, segment: str | None = None, unit: str | None = None) -> Pairs:
        """Pair the values of a metric by case, for one segment, or averaged over the segments of each case for None.

        The mean is over the segments whose values are finite in both runs. Values that cannot be compared are ignored:
        lengths in different units, and NSD at different tolerances.

        Args:
            unit: unit of the lengths; None for all.
        """
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for key in sorted(self.first):
            first, second = self.first[key], self.second[key]
            fits = segment in (None, key[1]) and unit in (None, first.unit)
            if fits and metric not in _incomparable(first, second):
                found[key[0]].append((first.values[metric], second.values[metric]))
        pairs: Pairs = []
        for case, values in found.items():
            means = np.mean([pair for pair in values if np.isfinite(pair).all()] or values[:1], axis=0)
            pairs.append((case, float(means[0]), float(means[1])))
        return pairs


def pair_scores(first: Path, second: Path) -> PairedScores:
    """Read two tables of scores on the same cases and segments.

    Raises:
        InputError: see `read_scores`; or the tables have different cases or segments.
    """
    first_scores, second_scores = read_scores(first), read_scores(second)
    if first_scores.keys() != second_scores.keys():
        lacking = sorted(first_scores.keys() ^ second_scores.keys())
        case, segment = lacking[0]
        path = first if lacking[0] in first_scores else second
        raise InputError(
            f"In one table only: {counted(len(lacking), 'mask')}, such as '{segment}' of '{case}' in '{path}'.",
            "Score both runs against the same truth; a missing prediction counts as 0 and is not left out.",
        )
    pairs = [(row, second_scores[key]) for key, row in first_scores.items()]
    units = sum(row.unit != other.unit for row, other in pairs)
    tolerances = sum("nsd" in _incomparable(row, other) for row, other in pairs) - units
    notes = []
    infinite = sum(not np.isfinite((row.values["hd95"], other.values["hd95"])).all() for row, other in pairs)
    if infinite:
        notes.append(
            f"HD95 leaves out {infinite} of {counted(len(pairs), 'mask')}, where one is empty, missing or a single row."
        )
    if units:
        notes.append(
            f"NSD and HD95 leave out {units} of {counted(len(pairs), 'mask')}, whose lengths are in mm in one table "
            "and in pixels in the other."
        )
    if tolerances:
        notes.append(f"NSD leaves out {tolerances} of {counted(len(pairs), 'mask')}, scored at other tolerances.")
    return PairedScores(first_scores, second_scores, notes)


def read_scores(path: Path) -> dict[Key, ScoreRow]:
    """Read a table of scores by case and segment.

    Raises:
        InputError: the table cannot be read, lacks a column, has a value that is not a number or a DSC outside 0 to 1,
            or has a segment of a case twice.
    """
    scores: dict[Key, ScoreRow] = {}
    for line, row in read_table(path):
        lacking = next((name for name in ("case", "segment", *METRICS) if name not in row), None)
        if lacking is not None:
            raise InputError(f"Expected a table of scores, got '{path}' without a column '{lacking}'.", REMEDY)
        key = (row["case"], row["segment"])
        values = {name: _number(row[name], f"'{name}' in line {line} of '{path}'") for name in METRICS}
        if not 0 <= values["dsc"] <= 1:
            raise InputError(f"Expected a DSC from 0 to 1 in line {line} of '{path}', got {row['dsc']}.", REMEDY)
        if key in scores:
            raise InputError(f"'{path}' has '{key[1]}' of the case '{key[0]}' twice.", "Keep only one of the lines.")
        tolerance = row.get("tolerance")
        scores[key] = ScoreRow(
            values,
            row.get("unit") or "mm",
            _number(tolerance, f"'tolerance' in line {line} of '{path}'") if tolerance else None,
        )
    if not scores:
        raise InputError(f"'{path}' holds no scores.", REMEDY)
    return scores


def _number(text: str, where: str) -> float:
    """Read a number, with a decimal point or, as spreadsheets of many countries write it, a decimal comma."""
    try:
        return float(text.replace(",", "."))
    except ValueError as error:
        raise InputError(f"Expected a number as {where}, got '{text}'.", REMEDY) from error


def _incomparable(first: ScoreRow, second: ScoreRow) -> tuple[str, ...]:
    """Return the metrics whose values in two rows cannot be compared."""
    if first.unit != second.unit:
        return LENGTHS
    known = None not in (first.tolerance, second.tolerance)
    return ("nsd",) if known and first.tolerance != second.tolerance else ()
