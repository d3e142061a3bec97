"""Wait for work in another process while Slicer's events run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MedCLIPSAMLib.errors import MedCLIPSAMError

Finished = Callable[["Any | None", "MedCLIPSAMError | None"], None]
"""Called once at the end of a run: the result, or why there is none."""


def waitFor(transport, start: Callable[[Finished], Any], cancel: Callable[[], None], timeout: float | None) -> Any:
    """Start a run, let Slicer's events run until it has ended, and return its result.

    Args:
        transport: has `run_until(done, timeout)`.
        cancel: ends the run when the time is up, or the user interrupts it.

    Raises:
        MedCLIPSAMError: why there is no result. TimeoutError.
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
