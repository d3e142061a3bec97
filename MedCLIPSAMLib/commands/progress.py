"""The progress bar of all commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..run_context import Progress, RunContext


def duration(seconds: float) -> str:
    """Format a duration in a readable unit."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}" if unit == "h" else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def telling(context: RunContext, say: Callable[[Progress], str | None]) -> RunContext:
    """Return a context that also notifies the user of what `say` returns for each report, unless that is empty."""

    def report(progress: Progress) -> None:
        context.on_progress(progress)
        line = say(progress)
        if line:
            context.on_notice(line)

    return replace(context, on_progress=report)


@contextmanager
def progress_bar(
    description: str, quiet: bool = False, unit: Literal["share", "count", "bytes"] = "share", lines: bool = False
) -> Iterator[RunContext]:
    """Yield the context of a run, which draws a progress bar and prints notices to standard error.

    The bar is drawn only on a terminal, and disappears at the end.

    Args:
        description: text shown until the run reports a message.
        quiet: show neither bar nor notices.
        unit: how the bar shows progress: in percent, as a count, or as a size.
        lines: without a terminal, such as into a log file, print a line for each reported count.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    from ..run_context import RunContext

    console = Console(stderr=True)
    amount = {"share": TaskProgressColumn(), "count": MofNCompleteColumn(), "bytes": DownloadColumn()}[unit]
    columns = TextColumn("{task.description}"), BarColumn(), amount, TextColumn("{task.fields[left]}")
    with Bar(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(description, total=None, left="")

        def show(progress: Progress) -> None:
            if lines and not console.is_terminal:
                notify(f"{progress.done:g} of {progress.total or 0:g}: {progress.message or description}")
            bar.update(task, completed=progress.done, total=progress.total)
            left = progress.seconds_left
            if left is None:
                left = bar.tasks[0].time_remaining
            shown = "" if left is None else f"{duration(left)} left"
            bar.update(task, description=escape(progress.message or description), left=shown)

        def notify(sentence: str) -> None:
            if not quiet:
                console.print(sentence, highlight=False, markup=False, soft_wrap=True)

        yield RunContext(show, notify)
