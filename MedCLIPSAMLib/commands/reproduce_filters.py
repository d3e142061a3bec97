"""`medclipsam reproduce filters`: which pseudo-labels are better left out of the training of nnU-Net."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated

import typer

from ..counted import counted
from .figures import FiguresFile, check_figures, write_figures
from .options import Overwrite
from .progress import progress_bar
from .reproduce_weak import RealData, WorkFolder, check_real
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table


def filters(
    data: RealData = None,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    work: WorkFolder = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind; more can be added in --work.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A trial of minutes whose figures mean nothing.")] = False,
) -> None:
    """Train nnU-Net on all pseudo-labels and without the worst fifth, chosen in four ways (an hour or two on a core).

    Left out are those of the lowest scores, those that the first network disagrees with most (medclipsam weak
    disagree), as many at random, and the truly worst. Phantoms of breast ultrasound, or a real set with --data.

    Example: medclipsam reproduce filters --quick --json figures.json
    """
    from ..experiments.filters_summary import summary
    from ..experiments.reproduce_filters import make_filter_plan, reproduce
    from ..experiments.weak_plan import quick as quick_plan
    from ..files.outputs import claim_outputs

    check_figures(data, (out,), overwrite, work)
    plan = make_filter_plan(data and data.resolve())
    plan = replace(plan, weak=quick_plan(plan.weak)) if quick else plan
    if data is not None:
        check_real(data.resolve(), plan.weak)
    lock = claim_outputs(work, "reproduce filters", plan=asdict(plan)) if work else nullcontext()
    with lock, progress_bar("working") as context:
        figures = reproduce(plan, range(1, seeds + 1), work, context)
    figures["summary"] = summary(figures)
    for table in filter_tables(figures):
        print_table(table)
    write_figures(out, figures)


def filter_tables(figures: dict) -> tuple[Table, Table]:
    """Show DSC on test images by filter, and its differences from all pseudo-labels and from as many random ones."""
    from ..experiments.filters_summary import BASES, MEASURED
    from ..experiments.reproduce_filters import FILTERS

    rows, cases = figures["summary"], figures["cases"]
    seeds = len(rows["all"]["ensemble"]["by_seed"])
    main = figures_table(
        f"{figures['set']}: DSC on {cases['test']} test images, mean over {counted(seeds, 'seed')} (95 %)",
        ("trained on", "labels", "their DSC", "order: rank correlation", "ensemble", "last checkpoint"),
    )
    for name, row in rows.items():
        ranked = "" if row["rank_correlation"] is None else f"{row['rank_correlation']:+.2f}"
        cells = ("{dsc:.3f} ({interval[0]:.3f}-{interval[1]:.3f})".format(**row[of]) for of in MEASURED)
        main.add_row(FILTERS[name], str(row["kept"]), f"{row['labels_dsc']:.3f}", ranked, *cells)
    change = figures_table(
        "Differences of DSC, image by image",
        ("trained on", "less", "of", "mean", "95 % interval", "p (Wilcoxon)", "higher", "lower", "by seed"),
        words=3,
    )
    pairs = product(BASES, rows, MEASURED)
    for base, name, of in (pair for pair in pairs if pair[0] in rows[pair[1]][pair[2]]["less"]):
        found = rows[name][of]["less"][base]
        numbers = f"{found['difference']:+.3f}", f"{found['low']:+.3f} to {found['high']:+.3f}", f"{found['p']:.2g}"
        counts = str(found["higher"]), str(found["lower"]), ", ".join(f"{value:+.3f}" for value in found["by_seed"])
        change.add_row(FILTERS[name], base, of, *numbers, *counts)
    return main, change
