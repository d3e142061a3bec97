"""Plots of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files.atomic import atomic_path


def plot_pairs(path: Path, first: Sequence[float], second: Sequence[float], names: tuple[str, str]) -> None:
    """Draw the values of two runs by case, 0 to 1, as a scatter plot and box plots.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.scatter(first, second, s=14, alpha=0.6)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=names[0], ylabel=names[1])
    left.set_title("DSC by case; above the line: second better", fontsize="medium")
    right.boxplot([first, second], tick_labels=list(names))
    right.set(ylim=(-0.02, 1.02), ylabel="DSC")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_expected_dsc(
    path: Path, expected: Sequence[float], truth: Sequence[float], figures: Mapping[str, Any]
) -> None:
    """Draw expected against true DSC with their means by bin, and the mean DSC against the share of masks kept.

    Args:
        figures: result of `experiments.expected_dsc.judge`.

    Raises:
        OutputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.scatter(expected, truth, s=12, alpha=0.4, label="a mask")
    bins = figures["calibration"]
    left.plot([row["expected"] for row in bins], [row["dsc"] for row in bins], "o-", color="C3", label="mean of a bin")
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="expected DSC", ylabel="true DSC")
    left.legend(loc="upper left")
    names = {"truth": "by truth", "expected_dsc": "by expected DSC", "score": "by score", "random": "at random"}
    shares = [float(share.rstrip("%")) for share in figures["coverage"]]
    for style, (name, label) in zip((":", "-", "--", "-."), names.items()):
        right.plot(shares, [row[name] for row in figures["coverage"].values()], style, marker=".", label=label)
    right.set(xlabel="masks kept, %", ylabel="their mean DSC", xlim=(102, 48))
    right.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
