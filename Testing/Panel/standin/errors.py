"""Exceptions in slots and observers. Qt and VTK would only print them; here they are kept, so that tests fail."""

from __future__ import annotations

import sys

raised: list[BaseException] = []
"""Exceptions that were raised since the last `check`."""


def install() -> None:
    """Collect the exceptions that Python would print as unhandled."""
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
