"""`medclipsam benchmark options`: the gain and cost of each option of the method, by set of images."""

from __future__ import annotations

from typing import Annotated

import typer

from .figures import FiguresFile, MaxCases, SetNames, SetsOrPhantoms, SplitName, check_figures, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .parsing import parse_names
from .progress import progress_bar
from .table import markdown_table


@option_groups
def options(
    models: MeasuredModels,
    data: SetsOrPhantoms = None,
    split: SplitName = "validation",
    cases: MaxCases = 24,
    sets: SetNames = "",
    only: Annotated[
        str, typer.Option(help="Options by the start of their names, separated by commas; all if empty.")
    ] = "",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment images with and without each option of the votes, the map, its threshold and the paper's method.

    Example: medclipsam benchmark options ~/real --cases 36 --only paper,affinity,"3 prompts"
    """
    from ..experiments.options import choose_options, image_sets, measure_options

    check_figures(data, (out,), overwrite)
    chosen = choose_options(parse_names(only))
    with progress_bar("measuring", unit="count") as context:
        images = image_sets(data, split, cases, parse_names(sets), context)
        figures = measure_options(models.load_measured(), images, chosen, context)
    typer.echo(report(figures))
    write_figures(out, figures)


def report(figures: dict) -> str:
    """Write the figures as Markdown tables: for the final mask, the coarse mask, and how often something is found."""
    names = list(next(iter(figures.values()))["options"])
    heads = [f"{name} ({row['cases']})" for name, row in figures.items()]
    lines = []
    for title, gain, interval, mean in (
        ("Final DSC, and the gain with its 95 % interval if there are several images.", "gain", "interval", "dsc"),
        ("DSC of the coarse mask, and its gain.", "coarse_gain", "coarse_interval", "coarse_dsc"),
    ):
        table = []
        for name in names:
            rows = [row["options"][name] for row in figures.values()]
            cells = [f"{row[mean]:.3f}" + _gain(row[gain], row[interval], name == names[0]) for row in rows]
            table.append((name, *cells, f"{sum(row['seconds'] for row in rows) / len(rows):.2f}"))
        lines += [title, "", *markdown_table(("", *heads, "CPU seconds"), table), ""]
    free = {kind: row for figure in figures.values() for kind, row in figure["without_target"].items()}
    kinds = [f"{kind} ({row['cases']})" for kind, row in free.items()]
    shares = [
        (
            name,
            *(f"{row['options'][name]['found']:.2f}" for row in figures.values()),
            *(f"{row['found'][name]:.2f}" for row in free.values()),
        )
        for name in names
    ]
    title = "Share of images in which something is found, with and without the target."
    return "\n".join([*lines, title, "", *markdown_table(("", *heads, *kinds), shares), ""])


def _gain(gain: float, interval: list[float] | None, is_base: bool) -> str:
    """Format a gain with its interval, without one if a single image was measured; nothing for the base."""
    if is_base:
        return ""
    return f" ({gain:+.3f})" if interval is None else f" ({gain:+.3f}, {interval[0]:+.3f} to {interval[1]:+.3f})"
