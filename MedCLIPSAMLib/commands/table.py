"""Tables on the screen, complete at any width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NARROW = 80
"""Terminal width, in characters, below which a table that does not fit is printed as blocks, not with broken words."""


def figures_table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[str]] = (), words: int = 1
) -> Table:
    """Make a table whose first columns hold words, and whose other columns hold right-aligned figures.

    Args:
        rows: initial rows; more can be added.
        words: number of columns that hold words.
    """
    from rich.table import Table

    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right")
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table as lines of Markdown, for the pages of docs/results."""
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def print_table(table: Table) -> None:
    """Print a table: on a narrow terminal with folded cells or as blocks, to a file or a pipe at full width."""
    from rich.console import Console

    console = Console(markup=False)
    if console.is_terminal and console.width < NARROW < Console(width=10_000).measure(table).maximum:
        _print_blocks(table, console)
        return
    for column in table.columns:
        column.overflow = "fold"
        if column.no_wrap and console.is_terminal:  # not wrapped if there is room
            longest = max((len(str(cell)) for cell in column.cells), default=0)
            column.min_width = min(longest, console.width // 4)
        column.no_wrap = not console.is_terminal
    if not console.is_terminal:
        console = Console(
            markup=False, width=max(console.width, Console(markup=False, width=10_000).measure(table).maximum)
        )
    console.print(table)


def _print_blocks(table: Table, console: Console) -> None:
    """Print each row as a block, with a line for each nonempty cell."""
    if table.title:
        console.print(str(table.title), highlight=False)
    headings = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns)):
        for heading, cell in zip(headings, cells):
            if str(cell):
                line = f"{heading}: {cell}" if heading else str(cell)
                console.print(line, highlight=False, overflow="fold")
        console.print()
