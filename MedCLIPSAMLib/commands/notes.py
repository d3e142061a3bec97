"""Sentences that the user should know of a run as a whole."""

from __future__ import annotations

import typer


class Notes:
    """Prints notes on the error stream when they come.

    Attributes:
        said: all of them, for the JSON.
    """

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, note: str) -> None:
        """Print a note."""
        self.said.append(note)
        typer.echo(f"note: {note}", err=True)
