"""Exceptions in slots and observers, which Qt and VTK would only print: here they are kept, and a test can fail."""

from __future__ import annotations

import sys

raised: list[BaseException] = []
"""What was raised since the last `check`."""


def install() -> None:
    """Listen to what Python prints as unhandled."""
    before = sys.excepthook

    def keep(kind, value, traceback) -> None:
        raised.append(value)
        before(kind, value, traceback)

    sys.excepthook = keep


def check() -> None:
    """Raise the first exception that a slot or an observer raised since the last call."""
    if raised:
        first = raised[0]
        raised.clear()
        raise first
