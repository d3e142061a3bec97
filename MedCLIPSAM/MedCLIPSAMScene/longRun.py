"""Work of minutes to days that a worker of its own does, so that prompts are answered meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.worker.client import WorkerClient
from MedCLIPSAMLib.worker.protocol import Message
from MedCLIPSAMLib.worker.request import Request

from .strings import _

Finished = Callable[["Any | None", "MedCLIPSAMError | None"], None]
"""Called once at the end of a run: the result, or why there is none."""


def waited(transport, start: Callable[[Finished], Any], cancel: Callable[[], None], timeout: float | None) -> Any:
    """Start a run, let Slicer's events go on until it has ended, and give its result.

    Args:
        transport: has `run_until(done, timeout)`.
        cancel: ends the run when the time is up.

    Raises:
        MedCLIPSAMError: why there is no result. TimeoutError.
    """
    ended: list = []
    start(lambda result, error: ended.append((result, error)))
    try:
        transport.run_until(lambda: bool(ended), timeout)
    except TimeoutError:
        cancel()
        raise
    result, error = ended[0]
    if error is not None:
        raise error
    return result


class LongRun:
    """One run at a time.

    Args:
        transport: a `worker.client.Transport` with `run_until(done, timeout)`.

    Attributes:
        onProgress: called with the fields of each "progress" message.
        onNotice: called with what is told meanwhile.
    """

    def __init__(self, transport) -> None:
        self.transport = transport
        self.client = WorkerClient(transport, self._receive)
        self.onProgress: Callable[[Mapping[str, Any]], None] = lambda progress: None
        self.onNotice: Callable[[str], None] = lambda text: None
        self._request: Request | None = None
        self._finished: Finished = lambda result, error: None

    @property
    def running(self) -> bool:
        """Whether a run is not finished."""
        return self._request is not None

    def cancel(self) -> None:
        """Stop; what was done is kept, and the same run goes on from there."""
        if self._request is not None:
            self.client.cancel(self._request)

    def close(self) -> None:
        """End the worker."""
        self.client.shutdown()

    def begin(self, ask: Callable[[], Request], finished: Finished) -> None:
        """Send the request of a run.

        Raises:
            InputError: another run is not finished. WorkerError: the worker cannot be started.
        """
        if self.running:
            raise InputError(_("Another run is not finished."), _("Wait for it, or stop it."))
        self._finished = finished
        self._request = ask()

    def wait(self, start: Callable[[Finished], None], timeout: float | None) -> Any:
        """Start a run and wait for its result; Slicer's events run meanwhile.

        Raises:
            MedCLIPSAMError: why there is none. TimeoutError.
        """
        return waited(self.transport, start, self.cancel, timeout)

    def result(self, fields: Mapping[str, Any]) -> Any:
        """What the fields of the last message mean."""
        raise NotImplementedError

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
            self._finished(None if error else self.result(message.fields), error)
