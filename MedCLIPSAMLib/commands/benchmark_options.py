"""`medclipsam benchmark options`: the gain and cost of each option of the method, by set of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .figures import FiguresFile, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .progress import progress_bar


@option_groups
def options(
    models: MeasuredModels,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of the sets, as for 'benchmark real'; phantoms without it.", show_default=False),
    ] = None,
    split: Annotated[str, typer.Option(help="'validation' while something is chosen; 'test' once, at the end.")] = (
        "validation"
    ),
    cases: Annotated[int, typer.Option(min=1, help="Max images of a set.")] = 24,
    sets: Annotated[str, typer.Option(help="Sets of DATA, separated by commas; all four when empty.")] = "",
    only: Annotated[
        str, typer.Option(help="Options, by how their names begin, separated by commas; all when empty.")
    ] = "",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment images with and without each option: of votes, of the map, and of its threshold.

    Example: medclipsam benchmark options ~/real --cases 36 --only affinity,"3 prompts"
    """
    from ..experiments.options import choose_options, measure_options, phantom_sets, real_sets
    from ..files.outputs import check_outputs
    from .benchmark_real import refuse_inside

    if data is not None:
        refuse_inside(data.resolve(), out, "the data, which is never written to")
    check_outputs((data,) if data else (), (out,), overwrite)
    chosen = choose_options(_listed(only))
    images = real_sets(data, split, cases, _listed(sets)) if data else phantom_sets(split, cases)
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        figures = measure_options(segmenter, images, chosen, context)
    typer.echo(report(figures))
    write_figures(out, figures)


def report(figures: dict) -> str:
    """Write the figures as two tables in Markdown: of the final and of the coarse mask."""
    names = list(next(iter(figures.values()))["options"])
    heads = [f"{name} ({row['cases']})" for name, row in figures.items()]
    lines = []
    for title, gain, interval, mean in (
        ("Final DSC, and the gain with its 95 % interval where there are several images.", "gain", "interval", "dsc"),
        ("DSC of the coarse mask, and its gain.", "coarse_gain", "coarse_interval", "coarse_dsc"),
    ):
        lines += [title, "", _line("", *heads, "CPU seconds"), _line(*(["---"] * (len(heads) + 2)))]
        for name in names:
            rows = [row["options"][name] for row in figures.values()]
            cells = [f"{row[mean]:.3f}" + _gain(row[gain], row[interval], name == names[0]) for row in rows]
            lines.append(_line(name, *cells, f"{sum(row['seconds'] for row in rows) / len(rows):.2f}"))
        lines.append("")
    return "\n".join(lines)


def _gain(gain: float, interval: list[float] | None, is_base: bool) -> str:
    """Write a gain with its interval; without one where one image was measured, and nothing for the base."""
    if is_base:
        return ""
    return f" ({gain:+.3f})" if interval is None else f" ({gain:+.3f}, {interval[0]:+.3f} to {interval[1]:+.3f})"


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
