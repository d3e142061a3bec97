"""Send messages to the client while its request runs, directly or through the context of a run."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..run_context import Progress, RunContext

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]
"""Fields and arrays of the last message of a request."""


class Reply(Protocol):
    """Sends messages to the client of one request."""

    def send(self, type: str, fields: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        """Send a message, unless the request was cancelled."""

    def cancelled(self) -> bool:
        """Tell whether the request was cancelled."""
        ...


def run_context(reply: Reply, stage: str = "") -> RunContext:
    """Make the context of a run that sends its progress and notices to the client.

    "progress" has the fields stage, fraction and slice, and the details of the run.

    Args:
        stage: stage of progress that names none.
    """

    def on_progress(progress: Progress) -> None:
        fields = {"stage": progress.stage or stage, "fraction": progress.fraction, "slice": None, **progress.details}
        if progress.seconds_left is not None:
            fields["seconds_left"] = progress.seconds_left
        reply.send("progress", fields)

    notify = lambda sentence: reply.send("notice", {"message": sentence})
    return RunContext(on_progress, notify, reply.cancelled)
