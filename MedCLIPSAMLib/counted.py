"""Numbers with their noun, and lists of names, for messages."""

from __future__ import annotations

from collections.abc import Iterable

LISTED = 3
"""Maximum number of names in a message."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return "1 case" or "2 cases"; `plural` is needed only if it is not formed by adding an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def list_names(names: Iterable[str]) -> str:
    """List a few names in quotes, and how many more there are. Anonymous reports hide what is in the quotes."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"'{name}'" for name in names[:LISTED]) + more
