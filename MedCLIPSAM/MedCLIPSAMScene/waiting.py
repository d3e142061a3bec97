"""Waiting for work in another process while Slicer handles events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedCLIPSAMLib.errors import MedCLIPSAMError

Finished = Callable[["Any | None", "MedCLIPSAMError | None"], None]
"""Called once at the end of a run, with (result, None) or (None, error)."""


def waitFor(transport, start: Callable[[Finished], Any], cancel: Callable[[], None], timeout: float | None) -> Any:
    """Start a run, let Slicer handle events until it has ended, and return its result.

    Args:
        transport: has `run_until(done, timeout)`.
        cancel: ends the run if the time is up or the user interrupts it.

    Raises:
        MedCLIPSAMError: why there is no result. TimeoutError: the time is up.
    """
    ended: list = []
    start(lambda result, error: ended.append((result, error)))
    try:
        transport.run_until(lambda: bool(ended), timeout)
    except BaseException:
        cancel()
        raise
    result, error = ended[0]
    if error is not None:
        raise error
    return result
