"""Plots of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files.atomic import atomic_path


def plot_pairs(path: Path, first: Sequence[float], second: Sequence[float], names: tuple[str, str]) -> None:
    """Draw two runs by case: a scatter plot of their values, and box plots. Values are 0 to 1.

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
