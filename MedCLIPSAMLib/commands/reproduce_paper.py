"""`medclipsam reproduce paper`: this program's results on the paper's test sets beside the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .figures import write_figures
from .option_groups import ModelOptions, option_groups
from .options import ModelName, SamName
from .progress import progress_bar
from .table import figures_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from ..experiments.reproduce_paper import StyleRun

LABELS = {
    "P0": "ours, P0: the target's name",
    "P2": "ours, P2: does not know the diagnosis",
    "P3": "ours, P3: KNOWS the diagnosis",
}


@dataclass(frozen=True)
class PaperModels(ModelOptions):
    """The paper's own models, unless others are named."""

    model: ModelName = "medclip-samv2"
    sam: SamName = "sam2.1-large"


@option_groups
def paper(
    data_dir: Annotated[Path, typer.Argument(help="Folder with breast_tumors, brain_tumors, lung_xray, lung_ct.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for masks and scores.", show_default=False)],
    prompts: Annotated[
        Path | None, typer.Option(help="Folder with breast_tumors_testing.json and the like: a sentence per image.")
    ] = None,
    tasks: Annotated[str, typer.Option(help="Only these, such as US,MRI; all existing ones by default.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each, to try it.")] = None,
    searched: Annotated[
        bool, typer.Option("--search/--no-search", help="Search M2IB's settings where none are published (lungs).")
    ] = True,
    models: PaperModels,
) -> None:
    """Segment the paper's four test sets by the authors' prompts and settings, and compare with what they published.

    The folders are the authors'; see docs/weak.md. The same command resumes a stopped run.

    Example: medclipsam reproduce paper data -o paper --tasks US --limit 10
    """
    from ..errors import InputError
    from ..evaluation.folders import Evaluation, write_csv
    from ..experiments import reproduce_paper as trial
    from ..experiments.paper import find_test_sets
    from ..files.outputs import claim_outputs

    if prompts is not None and not prompts.is_dir():
        raise InputError(f"There is no folder '{prompts}'.", "Give the folder that holds the JSON files of prompts.")
    plan = []
    for tests in find_test_sets(data_dir, filter(None, tasks.split(","))):
        for style in tests.task.styles:
            texts = trial.prompts_of(tests, style, prompts)
            if texts is None:
                typer.echo(
                    f"{tests.task.title} {style}: left out, no {tests.task.folder}_testing.json (give --prompts).",
                    err=True,
                )
            else:
                plan.append((tests, style, texts))
    with claim_outputs(out, "reproduce paper"):
        segmenter = models.load()
        runs = []
        with progress_bar("working", unit="count") as context:
            for tests, style, texts in plan:
                runs.append(trial.run(segmenter, tests, style, texts, out, searched, limit, context))
                scores = Evaluation(runs[-1].scores, tolerance=trial.TOLERANCE)
                write_csv(scores, out / f"{tests.task.folder}_{style}.csv")
        write_figures(out / "paper.json", figures(runs))
    for table in tables(runs, f"{models.model} + {models.sam}"):
        print_table(table)
    for run in runs:
        typer.echo(f"M2IB, {run.task.title} {run.style}: {run.settings}.")


def figures(runs: list[StyleRun]) -> list[dict]:
    """Compute the means of each run in percent, with the interval of the DSC."""
    import numpy as np

    from ..evaluation.folders import summarize

    rows = []
    for run in runs:
        values = {name: 100 * np.array([getattr(score, name) for score in run.scores]) for name in ("dsc", "nsd")}
        about = summarize(values["dsc"])
        rows.append(
            {
                "task": run.task.title,
                "style": run.style,
                "cases": len(run.scores),
                "failed": sum(bool(score.note) for score in run.scores),
                "dsc": about.mean,
                "low": about.low if len(run.scores) > 1 else None,
                "high": about.high if len(run.scores) > 1 else None,
                "nsd": float(values["nsd"].mean()),
                "nsd_as_published": 100 * float(np.mean(run.inflated)),
                "m2ib": run.settings,
            }
        )
    return rows


def tables(runs: list[StyleRun], models: str) -> tuple[Table, Table]:
    """Show this program's figures in the published metrics beside the published ones, and in sound metrics."""
    from ..experiments.paper import PUBLISHED, TASKS

    rows = figures(runs)
    beside = figures_table(
        "DSC / inflated NSD in %, both as published (its NSD counts every pixel as surface)",
        ("", *(task.title for task in TASKS), "all"),
    )
    for name, published in PUBLISHED.items():
        cells = [f"{own:.2f} / {inflated:.2f}" for own, inflated in published]
        beside.add_row(name, *cells, *[""] * (5 - len(cells)), end_section=name == list(PUBLISHED)[-1])
    cell = lambda row: f"{row['dsc']:.2f} / {row['nsd_as_published']:.2f}" if row else "-"
    found = {(row["task"], row["style"]): row for row in rows}
    for style, label in LABELS.items():
        own = [found.get((task.title, style)) for task in TASKS]
        if any(own):
            beside.add_row(label, *map(cell, own), cell(_mean(own)))
    best = [found.get((task.title, task.best)) for task in TASKS]
    beside.add_row("ours, the paper's choice (P3, P3, P0, P2)", *map(cell, best), cell(_mean(best)))

    true = figures_table(
        f"Ours ({models}): every case counts, those without a mask as 0; NSD of the contour, 2 pixels",
        ("task", "prompts", "cases", "published cases", "failed", "DSC %", "95 % interval", "NSD %"),
        words=2,
    )
    sizes = {task.title: str(task.published_cases) for task in TASKS}
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}" if row["low"] is not None else "-"
        counts = str(row["cases"]), sizes[row["task"]], str(row["failed"])
        prompts = LABELS[row["style"]].removeprefix("ours, ")
        true.add_row(row["task"], prompts, *counts, f"{row['dsc']:.2f}", interval, f"{row['nsd']:.2f}")
    return beside, true


def _mean(rows: list) -> dict | None:
    """Compute the mean over all four tasks, as published; None if a task is missing."""
    if not all(rows):
        return None
    return {name: sum(row[name] for row in rows) / len(rows) for name in ("dsc", "nsd_as_published")}
