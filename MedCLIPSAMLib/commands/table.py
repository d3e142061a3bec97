"""Tables on the screen, complete at any width."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def print_table(table: Table) -> None:
    """Print a table: on a narrow terminal with folded cells, into a file or a pipe at full width."""
    from rich.console import Console

    console = Console(markup=False)
    for column in table.columns:
        column.overflow = "fold"
        if column.no_wrap and console.is_terminal:  # whole as long as there is room
            longest = max((len(str(cell)) for cell in column.cells), default=0)
            column.min_width = min(longest, console.width // 4)
        column.no_wrap = not console.is_terminal
    if not console.is_terminal:
        console = Console(
            markup=False, width=max(console.width, Console(markup=False, width=10_000).measure(table).maximum)
        )
    console.print(table)
