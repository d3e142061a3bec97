"""`medclipsam benchmark without-masks`: the gain of each choice that needs no masks, on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .figures import FiguresFile, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .progress import progress_bar


@option_groups
def without_masks(
    data: Annotated[Path, typer.Argument(help="Folder of the sets, as for 'benchmark real'.")],
    models: MeasuredModels,
    split: Annotated[str, typer.Option(help="'validation' while something is chosen; 'test' once, at the end.")] = (
        "validation"
    ),
    cases: Annotated[int, typer.Option(min=1, help="Max images of a set.")] = 24,
    sets: Annotated[str, typer.Option(help="Sets, separated by commas; all four when empty.")] = "",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment real images with and without each choice that needs no masks, such as steps by agreement.

    Example: medclipsam benchmark without-masks ~/real --cases 36
    """
    from ..experiments.real_sets import REAL_SETS
    from ..experiments.without_masks import compare_variants
    from ..files.outputs import check_outputs
    from .benchmark_real import refuse_inside

    refuse_inside(data.resolve(), out, "the data, which is never written to")
    check_outputs((data,), (out,), overwrite)
    segmenter = models.load_measured()
    names = [name.strip() for name in sets.split(",")] if sets else list(REAL_SETS)
    with progress_bar("measuring", unit="count") as context:
        found = compare_variants(segmenter, data, split, cases, names, context)
    typer.echo(report(found))
    write_figures(out, found)


def report(found: dict) -> str:
    """Write the figures as tables in Markdown."""
    sets, free = found["sets"], found["tumor_free"]
    heads = [f"{name} ({row['cases']})" for name, row in sets.items()]
    variants = list(next(iter(sets.values()))["dsc"])
    lines = ["Final DSC; in brackets the coarse mask's.", "", *_head("", *heads, "mean")]
    for variant in variants:
        final = [row["dsc"][variant] for row in sets.values()]
        cells = [f"{row['dsc'][variant]:.3f} ({row['coarse_dsc'][variant]:.3f})" for row in sets.values()]
        lines.append(_line(variant, *cells, f"{sum(final) / len(final):.3f}"))
    lines += ["", "Share of images in which something is found: with the target, and without it.", ""]
    lines += _head("", *heads, *(f"{kind} ({row['cases']})" for kind, row in free.items()))
    for variant in variants:
        found_shares = [f"{1 - row['missed'][variant]:.2f}" for row in sets.values()]
        lines.append(_line(variant, *found_shares, *(f"{row['found'][variant]:.2f}" for row in free.values())))
    for threshold in next(iter(found["presence"].values()))["found"]:
        shares = [f"{found['presence'][kind]['found'][threshold]:.2f}" for kind in (*sets, *free)]
        lines.append(_line(f"presence {threshold} alone", *shares))
    lines += ["", "95 % interval of the mean difference of the final DSC to the first line.", "", *_head("", *heads)]
    for variant in variants[1:]:
        cells = ["{:+.3f} to {:+.3f}".format(*row["gain"][variant]) for row in sets.values()]
        lines.append(_line(variant, *cells))
    return "\n".join(lines)


def _head(*names: str) -> list[str]:
    return [_line(*names), _line(*("---" for _ in names))]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
