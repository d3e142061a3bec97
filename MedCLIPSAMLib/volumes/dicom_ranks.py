"""Which phases the images at a position are of, where one or more are missing, by their times or numbers."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from datetime import date
from itertools import combinations
from math import comb

import numpy as np

CLEAR = 0.5
"""Maximum distance of values to those expected of the phases chosen, as a share of that to the next choice."""
MAX_CHOICES = 10_000


def choose_ranks(own: np.ndarray, table: np.ndarray, distances: np.ndarray) -> Sequence[int] | None:
    """Choose the ranks of the images at a position where some are missing; None where no choice is clearly the best.

    Ranks differ by the same at all positions, by what begins at each: that lies on a line over the positions, and where
    one phase follows another, between the others.

    Args:
        own: their values, sorted.
        table: values where none is missing (positions, ranks).
        distances: of these positions.
    """
    steps = (table - table[:, :1]).mean(axis=0)
    beginnings = (table - steps).mean(axis=1)
    low, high = beginnings.min(), beginnings.max()
    expected = np.polyfit(distances, beginnings, 1 if len(distances) > 1 else 0)[-1]
    if comb(table.shape[1], len(own)) > MAX_CHOICES:
        return None
    choices = list(combinations(range(table.shape[1]), len(own)))
    off = own - steps[np.array(choices)]
    beginning = off.mean(axis=1)
    costs = np.abs(off - beginning[:, None]).sum(axis=1) + np.abs(beginning - expected)
    if high - low < np.diff(steps).min():
        costs += np.clip(low - beginning, 0, None) + np.clip(beginning - high, 0, None)
    best, second = np.sort(costs)[:2]
    return choices[int(costs.argmin())] if best < CLEAR * second else None


def as_number(value: Hashable | None) -> float | None:
    """Return a value as a number: times of day, with or without a date before them, as seconds."""
    if not isinstance(value, str):
        return float(value) if isinstance(value, (int, float)) else None
    match = re.fullmatch(r"(\d*?)(\d\d)(\d\d)(\d\d(?:\.\d+)?)", value)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match[1]).toordinal() if match[1] else 0
    except ValueError:
        day = int(match[1])
    return ((day * 24 + int(match[2])) * 60 + int(match[3])) * 60 + float(match[4])
