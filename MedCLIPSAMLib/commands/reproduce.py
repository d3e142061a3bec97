"""`medclipsam reproduce`: the paper's claims, tried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from .options import Overwrite
from .progress import progress_bar
from .reproduce_paper import paper
from .table import print_table

app = typer.Typer(help="The paper's claims, tried.", no_args_is_help=True)


@app.callback()
def _reproduce() -> None:
    """Try the paper's claims."""


app.command()(paper)


@app.command()
def finetune(
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures as JSON.")] = None,
    overwrite: Overwrite = False,
    seeds: Annotated[int, typer.Option(min=2, help="Trainings of each loss.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="Trainings side by side, a core each.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A minute's trial whose figures mean nothing.")] = False,
) -> None:
    """Fine-tune the demo CLIP on phantoms by DHN-NCE and by what it is compared with (under an hour on two cores).

    Example: medclipsam reproduce finetune --quick --json figures.json
    """
    from ..experiments import reproduce_finetune as trial
    from ..files.atomic import atomic_path
    from ..files.outputs import check_outputs

    check_outputs((), (out,), overwrite)
    plan = replace(trial.FineTunePlan(), seeds=tuple(range(1, seeds + 1)))
    with progress_bar("working", unit="count") as context:
        figures = trial.reproduce(trial.quick(plan) if quick else plan, processes, context)
    for table in (search_table(figures), result_table(figures)):
        print_table(table)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@app.command()
def weak(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of a set of real images, such as breast_us_busbra, in place of phantoms."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures as JSON.")] = None,
    overwrite: Overwrite = False,
    work: Annotated[Path | None, typer.Option(help="Folder to work and go on in; else a temporary one.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Tasks side by side, a core each.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A trial of minutes whose figures mean nothing.")] = False,
) -> None:
    """Pseudo-labels of phantoms by text, a nnU-Net on them, and its review (under 90 minutes on two cores).

    With --data those of a real set's training patients by the starter models, measured on its test patients.

    Example: medclipsam reproduce weak --quick --json figures.json
    """
    from ..experiments import reproduce_weak as trial
    from ..experiments.weak_cases import RealCases
    from ..files.atomic import atomic_path
    from ..files.outputs import check_outputs, claim_outputs
    from .benchmark_real import refuse_inside

    check_outputs((data,), (out,), overwrite)
    plan = trial.WeakPlan() if data is None else trial.real_plan(data.resolve())
    plan = trial.quick(plan) if quick else plan
    if data is not None:
        for path in (out, work):
            refuse_inside(data.resolve(), path, "the data, which is never written to")
        for split, count in (("test", plan.test), ("validation", plan.validation), ("train", plan.train)):
            RealCases(data.resolve()).check(split, count)
    lock = claim_outputs(work, "reproduce weak", plan=asdict(plan)) if work else nullcontext()
    with lock, progress_bar("working") as context:
        figures = trial.reproduce(plan, processes, work, context)
    figures["summary"] = trial.summary(figures)
    for table in weak_tables(figures):
        print_table(table)
    if out is not None:
        with atomic_path(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def weak_tables(figures: dict):
    """DSC and NSD of each row, differences case by case, and the error left after review."""
    from rich.table import Table

    from ..experiments.reproduce_weak import COLUMNS, ROWS, SHARES

    tasks, summary = figures["tasks"], figures["summary"]
    several = len(tasks) > 1
    measured = ", ".join(f"{task['cases']['test']}" for task in tasks.values())
    main = Table(title=f"DSC / NSD (2 pixels) on {measured} test images")
    for column in ("", *(COLUMNS.get(name, name) for name in tasks), *(["all"] if several else [])):
        main.add_column(column, justify="right" if column else "left")
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
    change = Table(title="DSC, differences case by case over all tasks")
    for column in ("", "mean", "95 % interval", "p (Wilcoxon)", "better", "worse", "cases"):
        change.add_column(column, justify="right" if column else "left")
    for name, difference in summary["differences"].items():
        interval = f"{difference['low']:+.3f} to {difference['high']:+.3f}"
        compared = (str(difference[column]) for column in ("better", "worse", "n"))
        change.add_row(name, f"{difference['difference']:+.3f}", interval, f"{difference['p']:.2g}", *compared)
    review = Table(title="Mean error (1 - DSC) of the weak ensemble after a perfect review of a share of the cases")
    for column in ("first are", *(f"{share:.0%}" for share in (0.0, *SHARES)), "validation, 10%"):
        review.add_column(column, justify="left" if column == "first are" else "right")
    at = lambda by_share, share: next(value for key, value in by_share.items() if float(key) == share)
    for order, left in summary["review"].items():
        cells = [f"{at(left, share):.4f}" for share in (0.0, *SHARES)]
        review.add_row(order, *cells, f"{at(summary['validation_review'][order], 0.1):.4f}")
    return main, change, review


def _ranged(mean: float, interval: Sequence[float]) -> str:
    return f"{mean:.3f} ({interval[0]:.3f}-{interval[1]:.3f})"


def search_table(figures: dict):
    """Measure validation retrieval at every temperature."""
    from rich.table import Table

    table = Table(title="Top-1 retrieval on validation pairs, first seed; the best temperature is taken")
    temperatures = list(next(iter(figures["search"].values())))
    for column in ("loss", *(f"{float(temperature):g}" for temperature in temperatures)):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for loss, by_temperature in figures["search"].items():
        table.add_row(loss, *(f"{by_temperature[temperature]:.3f}" for temperature in temperatures))
    return table


def result_table(figures: dict):
    """Test figures, mean and standard deviation over seeds, and the difference to InfoNCE seed by seed."""
    import numpy as np
    from rich.table import Table

    plan = figures["plan"]
    table = Table(
        title=f"Test split: {plan['test']} pairs in batches of 50 (chance 0.020), {plan['cases']} phantoms a task, "
        f"{len(plan['seeds'])} seeds"
    )
    names = {"image_to_text": "image-text top-1", "text_to_image": "text-image top-1"}
    names |= {"coarse_dsc": "coarse DSC", "dsc": "DSC"}
    for column in ("loss", "temperature", *names.values(), "top-1 less InfoNCE's", "DSC less InfoNCE's"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    values = lambda row, name: np.array([scores[name] for scores in row["seeds"]])
    against = figures["rows"]["info-nce"]
    for loss, row in figures["rows"].items():
        several = len(row["seeds"]) > 1
        cells = [
            f"{values(row, name).mean():.3f}" + (f" ± {values(row, name).std(ddof=1):.3f}" if several else "")
            for name in names
        ]
        gains = [
            f"{gain.mean():+.3f} ± {gain.std(ddof=1):.3f}"
            for name in ("top1", "dsc")
            if several and loss != "info-nce"
            for gain in [values(row, name) - values(against, name)]
        ]
        temperature = f"{row['temperature']:g}" if row["temperature"] else ""
        table.add_row(loss, temperature, *cells, *(gains or ["", ""]))
    return table
