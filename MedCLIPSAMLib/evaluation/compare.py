"""Comparison of two runs on the same cases: whether one is better, and with what certainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError
from .folders import summarize


@dataclass(frozen=True)
class PairedDifference:
    """Differences by case, second run minus first.

    Args:
        n: number of cases in which both values are finite.
        first, second, difference: means.
        low, high: 95 % bootstrap interval of the mean difference; NaN for fewer than two cases.
        p: p-value of the two-sided Wilcoxon signed-rank test; 1 if no case differs, NaN for fewer than two cases.
        higher, lower: numbers of cases in which the second run has the higher, or the lower, value.
    """

    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    higher: int
    lower: int


def compare_paired(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """Compare the values of two runs on the same cases, in the same order.

    Raises:
        InputError: the numbers of cases differ.
    """
    from scipy.stats import wilcoxon

    first_values, second_values = np.asarray(first, float), np.asarray(second, float)
    if first_values.shape != second_values.shape:
        raise InputError(
            f"{first_values.size} and {second_values.size} cases cannot be paired.", "Score the same cases."
        )
    both = np.isfinite(first_values) & np.isfinite(second_values)
    first_values, second_values = first_values[both], second_values[both]
    change = second_values - first_values
    about = summarize(change)
    p = float("nan")
    if change.size > 1:
        p = float(wilcoxon(change, zero_method="zsplit").pvalue) if change.any() else 1.0
    mean = lambda values: float(values.mean()) if values.size else float("nan")
    return PairedDifference(
        change.size,
        mean(first_values),
        mean(second_values),
        mean(change),
        about.low,
        about.high,
        p,
        int((change > 0).sum()),
        int((change < 0).sum()),
    )


def error_after_review(errors: ArrayLike, order: ArrayLike, share: float) -> float:
    """Compute the mean error that remains after a person has perfectly corrected a share of the cases.

    Args:
        errors: error of each case, such as 1 - DSC.
        order: priority of each case; the highest is reviewed first, and ties in the given order.
        share: share of reviewed cases, 0 to 1, rounded to whole cases.
    """
    left = np.array(errors, float)
    left[np.argsort(-np.asarray(order, float), kind="stable")[: round(share * left.size)]] = 0
    return float(left.mean())
