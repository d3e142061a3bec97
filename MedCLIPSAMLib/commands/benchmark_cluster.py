"""`medclipsam benchmark cluster`: the overhead of the export's engine for clusters."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ..counted import counted
from .figures import FiguresFile, check_figures, write_figures
from .options import Overwrite
from .progress import progress_bar


def cluster(
    workers: Annotated[int, typer.Option(min=1, help="Ray processes on this machine, which only sleep.")] = 64,
    cases: Annotated[int, typer.Option(min=1, help="Cases of the export.")] = 1500,
    seconds: Annotated[float, typer.Option(min=0, help="Median time of a case.")] = 2.0,
    deaths: Annotated[float, typer.Option(min=0, max=1, help="Share of cases at which a worker dies.")] = 0.002,
    seed: Annotated[int, typer.Option(help="Seed of the times and deaths.")] = 0,
    out: FiguresFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Export imaginary cases by Ray on this machine, by workers that sleep instead of computing.

    Example: medclipsam benchmark cluster --workers 8 --cases 100 --seconds 0.5
    """
    from ..experiments.cluster import simulate_cluster

    check_figures(None, (out,), overwrite)
    with progress_bar("exporting", unit="count") as context:
        run = simulate_cluster(workers, cases, seconds, deaths=deaths, seed=seed, context=context)
    typer.echo(f"{run.done} of {cases} cases recorded, {run.failed} of them failed, in {run.wall:.1f} s.")
    at_work = f"{run.busy:.0%} of the time {counted(workers, 'worker')} worked"
    typer.echo(f"{run.cases_a_second:.1f} cases per second; {at_work}.")
    write_figures(out, asdict(run))
