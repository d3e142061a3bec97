"""Runs of minutes to days on a separate worker, so that prompts can be answered at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request

from .dependencies import requireIdle
from .strings import _
from .waiting import Finished, waitFor


class LongRun:
    """A worker with one run at a time.

    Args:
        transport: a `worker.client.Transport` with `run_until(done, timeout)`.
        readResult: makes the result from the fields of the last message.

    Attributes:
        onProgress: called with the fields of each "progress" message.
        onNotice: called with each message for the user.
    """

    def __init__(self, transport, readResult: Callable[[Mapping[str, Any]], Any]) -> None:
        self.client = WorkerClient(transport, self._receive)
        self.onProgress: Callable[[Mapping[str, Any]], None] = lambda progress: None
        self.onNotice: Callable[[str], None] = lambda text: None
        self._transport, self._readResult = transport, readResult
        self._request: Request | None = None
        self._outdated = False
        self._finished: Finished = lambda result, error: None

    @property
    def running(self) -> bool:
        """Whether a run is not finished."""
        return self._request is not None

    def start(self, ask: Callable[[], Request], finished: Finished) -> None:
        """Send the request of a run.

        Raises:
            InputError: another run, or an installation, is not finished. WorkerError: the worker cannot be started.
        """
        if self.running:
            raise InputError(_("Another run is not finished."), _("Wait for it, or stop it."))
        requireIdle()
        if self._outdated:
            self.endWorker()
        self._finished = finished
        self._request = ask()

    def wait(self, start: Callable[[Finished], None], timeout: float | None) -> Any:
        """Start a run and wait for its result while Slicer handles events.

        Raises:
            MedCLIPSAMError: why there is no result. TimeoutError: the time is up.
        """
        return waitFor(self._transport, start, self.cancel, timeout)

    def cancel(self) -> None:
        """Stop the run; finished work is kept, and the same run can be resumed."""
        if self._request is not None:
            self.client.cancel(self._request)

    def endWorker(self) -> None:
        """End the worker after its current run, so that the next run starts a new one."""
        self._outdated = self.running
        if not self.running:
            self.client.shutdown()

    def close(self) -> None:
        """End the worker and wait for its end."""
        self.client.shutdown()
        self._transport.close()

    def _receive(self, request: Request | None, message: Message) -> None:
        if request is None or request is not self._request:
            return
        if message.type == "progress":
            self.onProgress(message.fields)
        elif message.type == "notice":
            self.onNotice(str(message.fields["message"]))
        elif request.done:
            self._request = None
            error = request.error
            self._finished(None if error else self._readResult(message.fields), error)
