"""Two runs on the same cases: is one better, and how sure is that?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .folders import summarise


@dataclass(frozen=True)
class Paired:
    """Differences case by case, second run less first.

    Args:
        n: cases that have both values finite.
        first, second, difference: means.
        low, high: 95 % bootstrap interval of the mean difference; NaN for less than two cases.
        p: two-sided Wilcoxon signed-rank test; 1 where no case differs, NaN for less than two cases.
        better, worse: cases in which the second run has the higher, and the lower value.
    """

    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    better: int
    worse: int


def paired(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Paired:
    """Compare the values of two runs on the same cases, in the same order.

    Raises:
        InputError: the numbers of cases differ.
    """
    from scipy.stats import wilcoxon

    one, other = np.asarray(first, float), np.asarray(second, float)
    if one.shape != other.shape:
        raise InputError(f"{one.size} and {other.size} cases cannot be paired.", "Score the same cases.")
    both = np.isfinite(one) & np.isfinite(other)
    one, other = one[both], other[both]
    change = other - one
    about = summarise(change, seed)
    p = float("nan")
    if change.size > 1:
        p = float(wilcoxon(change, zero_method="zsplit").pvalue) if change.any() else 1.0
    mean = lambda values: float(values.mean()) if values.size else float("nan")
    return Paired(
        change.size,
        mean(one),
        mean(other),
        mean(change),
        about.low,
        about.high,
        p,
        int((change > 0).sum()),
        int((change < 0).sum()),
    )


def error_after_review(
    errors: Sequence[float] | np.ndarray, order: Sequence[float] | np.ndarray, share: float
) -> float:
    """The mean error left when a person corrects the share of the cases that come first in an order, perfectly.

    Args:
        errors: of each case, such as 1 - DSC.
        order: the higher, the earlier a case is looked at; of equal ones the first.
        share: 0 to 1; rounded to whole cases.
    """
    left = np.array(errors, float)
    left[np.argsort(-np.asarray(order, float), kind="stable")[: round(share * left.size)]] = 0
    return float(left.mean())
