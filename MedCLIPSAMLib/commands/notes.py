"""Notes for the user on a run as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..run_context import RunContext


class Notes:
    """Prints notes to standard error as they come.

    Attributes:
        said: all notes so far, for the JSON.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, note: str) -> None:
        """Print a note."""
        self.said.append(note)
        typer.echo(f"note: {note}", err=True)

    def of_run(self, context: RunContext) -> RunContext:
        """Return the same context with its notices turned into notes."""

        def say(note: str) -> None:
            self.said.append(note)
            context.on_notice(f"note: {note}")  # above its progress bar

        return replace(context, on_notice=say)
