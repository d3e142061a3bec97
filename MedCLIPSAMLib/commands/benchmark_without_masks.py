"""`medclipsam benchmark without-masks`: the gain of each choice that needs no masks, on real images."""

from __future__ import annotations

import typer

from .figures import FiguresFile, MaxCases, SetNames, SetsFolder, SplitName, check_figures, write_figures
from .option_groups import MeasuredModels, option_groups
from .options import Overwrite
from .parsing import parse_names
from .progress import progress_bar
from .table import markdown_table


@option_groups
def without_masks(
    data: SetsFolder,
    models: MeasuredModels,
    split: SplitName = "validation",
    cases: MaxCases = 24,
    sets: SetNames = "",
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Segment real images with and without each choice that needs no masks, such as steps by agreement.

    Example: medclipsam benchmark without-masks ~/real --cases 36
    """
    from ..experiments.without_masks import compare_variants

    check_figures(data, (out,), overwrite)
    segmenter = models.load_measured()
    with progress_bar("measuring", unit="count") as context:
        found = compare_variants(segmenter, data, split, cases, parse_names(sets), context)
    typer.echo(report(found))
    write_figures(out, found)


def report(found: dict) -> str:
    """Write the figures as tables in Markdown."""
    sets, free = found["sets"], found["tumor_free"]
    heads = [f"{name} ({row['cases']})" for name, row in sets.items()]
    kinds = [f"{kind} ({row['cases']})" for kind, row in free.items()]
    variants = list(next(iter(sets.values()))["dsc"])
    final, shares = [], []
    for variant in variants:
        cells = [f"{row['dsc'][variant]:.3f} ({row['coarse_dsc'][variant]:.3f})" for row in sets.values()]
        final.append((variant, *cells, f"{sum(row['dsc'][variant] for row in sets.values()) / len(sets):.3f}"))
        with_target = [f"{1 - row['missed'][variant]:.2f}" for row in sets.values()]
        shares.append((variant, *with_target, *(f"{row['found'][variant]:.2f}" for row in free.values())))
    for threshold in next(iter(found["presence"].values()))["found"]:
        cells = [f"{found['presence'][kind]['found'][threshold]:.2f}" for kind in (*sets, *free)]
        shares.append((f"presence {threshold} alone", *cells))
    gains = [
        (variant, *("{:+.3f} to {:+.3f}".format(*row["gain"][variant]) for row in sets.values()))
        for variant in variants[1:]
    ]
    tables = {
        "Final DSC; in brackets the coarse mask's.": markdown_table(("", *heads, "mean"), final),
        "Share of images in which something is found: with the target, and without it.": markdown_table(
            ("", *heads, *kinds), shares
        ),
        "95 % interval of the mean difference of the final DSC to the first line.": markdown_table(("", *heads), gains),
    }
    return "\n\n".join("\n".join([title, "", *lines]) for title, lines in tables.items())
