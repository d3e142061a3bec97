"""`medclipsam reproduce weak`: the weakly supervised stage on phantoms, or on a set of real images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .figures import FiguresFile, check_figures, write_figures
from .options import Overwrite
from .progress import progress_bar
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiments.weak_plan import WeakPlan

RealData = Annotated[
    Path | None,
    typer.Option(help="Folder of a set of real images, such as breast_us_busbra, instead of phantoms."),
]
WorkFolder = Annotated[
    Path | None, typer.Option(help="Working folder, new or to be resumed; by default a temporary one.")
]


def weak(
    data: RealData = None,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
    work: WorkFolder = None,
    processes: Annotated[int, typer.Option(min=1, help="Tasks side by side, a core each.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A trial of minutes whose figures mean nothing.")] = False,
) -> None:
    """Train an nnU-Net on pseudo-labels of phantoms by text, and review it (under 90 minutes on two cores).

    With --data those of a real set's training patients by the starter models, measured on its test patients.

    Example: medclipsam reproduce weak --quick --json figures.json
    """
    from ..experiments.reproduce_weak import reproduce
    from ..experiments.weak_plan import WeakPlan, real_plan
    from ..experiments.weak_plan import quick as quick_plan
    from ..experiments.weak_summary import summary
    from ..files.outputs import claim_outputs

    check_figures(data, (out,), overwrite, work)
    plan = WeakPlan() if data is None else real_plan(data.resolve())
    plan = quick_plan(plan) if quick else plan
    if data is not None:
        check_real(data.resolve(), plan)
    lock = claim_outputs(work, "reproduce weak", plan=asdict(plan)) if work else nullcontext()
    with lock, progress_bar("working") as context:
        figures = reproduce(plan, processes, work, context)
    figures["summary"] = summary(figures)
    for table in weak_tables(figures):
        print_table(table)
    write_figures(out, figures)


def check_real(data: Path, plan: WeakPlan) -> None:
    """Refuse unusable data before any work starts.

    Raises:
        InputError: the data cannot be used.
    """
    from ..experiments.weak_cases import RealCases

    for split, count in (("test", plan.test), ("validation", plan.validation), ("train", plan.train)):
        if count:
            RealCases(data).check(split, count)


def weak_tables(figures: dict) -> tuple[Table, Table, Table]:
    """Show DSC and NSD of each row, differences case by case, and the error left after review."""
    from ..experiments.weak_plan import COLUMNS
    from ..experiments.weak_summary import ROWS, SHARES

    tasks, summary = figures["tasks"], figures["summary"]
    several = len(tasks) > 1
    measured = ", ".join(f"{task['cases']['test']}" for task in tasks.values())
    main = figures_table(
        f"DSC / NSD (2 pixels) on {measured} test images",
        ("", *(COLUMNS.get(name, name) for name in tasks), *(["all"] if several else [])),
    )
    for row, label in ROWS.items():
        means, intervals = summary["rows"][row], summary["intervals"][row]
        cells = [" / ".join(_ranged(means[of][name], intervals[of][name]) for of in ("dsc", "nsd")) for name in tasks]
        all_tasks = [f"{means['dsc']['all']:.3f} / {means['nsd']['all']:.3f}"] if several else []
        main.add_row(label, *cells, *all_tasks)
    main.add_section()
    labels = [task["pseudo_labels"] for task in tasks.values()]
    main.add_row("pseudo-labels: DSC", *(f"{label['dsc']:.3f}" for label in labels))
    trained = zip(labels, tasks.values())
    main.add_row("pseudo-labels: found", *(f"{label.get('found', 0)} of {t['cases']['train']}" for label, t in trained))
    change = figures_table(
        "DSC, differences case by case over all tasks",
        ("", "mean", "95 % interval", "p (Wilcoxon)", "higher", "lower", "cases"),
    )
    for name, difference in summary["differences"].items():
        interval = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
        compared = (str(difference[column]) for column in ("higher", "lower", "n"))
        change.add_row(name, f"{difference['difference']:+.3f}", interval, f"{difference['p']:.2g}", *compared)
    review = figures_table(
        "Mean error (1 - DSC) of the weak ensemble after a perfect review of a share of the cases",
        ("first are", *(f"{share:.0%}" for share in (0.0, *SHARES)), "validation, 10%"),
    )
    for order, left in summary["review"].items():
        review.add_row(order, *(f"{error:.4f}" for error in (*left.values(), summary["validation_review"][order][0.1])))
    return main, change, review


def _ranged(mean: float, interval: Sequence[float]) -> str:
    return f"{mean:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"
