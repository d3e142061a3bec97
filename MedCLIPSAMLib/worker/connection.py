"""Send requests of any kind to a worker and receive its messages.

It needs no torch, threads or event loop. The owner of the transport passes on what it reads by calling `feed`,
`feed_log` and `ended`, all from one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import Cancelled, MedCLIPSAMError
from .protocol import VERSION, FrameParser, Message, ProtocolError, encode
from .request import Request, WorkerError, error_from

LOG_LINES = 200


class Transport(Protocol):
    """A worker process and its three standard streams."""

    def start(self, client: Connection) -> None:
        """Start a process, and pass its output to the client's `feed`, `feed_log` and `ended` from then on.

        Raises:
            OSError: it cannot be started. If this is known only later, `ended` is called with the reason.
        """

    def write(self, data: bytes) -> None:
        """Write to the process's standard input.

        Raises:
            OSError: the process has ended. Instead of raising, a transport may call `ended` soon after.
        """

    def stop(self) -> None:
        """End the process, if there is one; nothing is passed on after that, not even `ended`."""


class Connection:
    """A worker that is started by the first request, and restarted by the first request after it died.

    Args:
        transport: starts the process and carries its streams.
        on_event: called with each message of the worker and the request that it belongs to, after the request was
            updated: "progress" (stage, fraction, slice), "notice" (message), "part", "result" or "error". When the
            worker dies, it is called with None and a message "ended" (problem, remedy).
    """

    def __init__(
        self, transport: Transport, on_event: Callable[[Request | None, Message], None] = lambda request, message: None
    ) -> None:
        self._transport, self._on_event = transport, on_event
        self._running = False
        self._parser = FrameParser()
        self._last_id = 0
        self._pending: dict[int, Request] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._log_rest = b""
        self.about: Mapping[str, Any] = {}
        """Facts about the running worker: version, host, python, pid."""

    @property
    def running(self) -> bool:
        """Whether the worker is running."""
        return self._running

    @property
    def busy(self) -> bool:
        """Whether any request is still unanswered."""
        return bool(self._pending)

    @property
    def log(self) -> str:
        """The last lines that workers wrote to standard error."""
        return "\n".join(self._log)

    def cancel(self, request: Request) -> None:
        """Cancel a request, which then fails with `errors.Cancelled`; do nothing if it is done."""
        if request.id in self._pending:
            request.cancelled = True
            self._write(Message("cancel", 0, {"request": request.id}))

    def shutdown(self) -> None:
        """End the worker immediately, and cancel unanswered requests."""
        if self._running:
            self._running = False
            self._transport.stop()
        self._fail_all(Cancelled())

    def feed(self, data: bytes) -> None:
        """Handle bytes that the worker wrote to standard output, in pieces of any size."""
        try:
            messages = self._parser.feed(data)
        except ProtocolError as error:
            self._give_up(WorkerError(f"The worker sent invalid data: {error.problem}", error.remedy, self.log))
            return
        for message in messages:
            self._receive(message)

    def feed_log(self, data: bytes) -> None:
        """Log bytes that the worker wrote to standard error, in any encoding."""
        *lines, self._log_rest = (self._log_rest + data).split(b"\n")
        self._log.extend(line.decode("utf-8", errors="replace").rstrip("\r") for line in lines)
        self._log_rest = self._log_rest[-10_000:]

    def ended(self, reason: str = "") -> None:
        """Handle the end of the process.

        Args:
            reason: such as "exit code 1".
        """
        if not self._running:
            return
        self.feed_log(b"\n" if self._log_rest else b"")
        cause = f" ({reason})" if reason else ""
        last = next((f" Its last output: {line.strip()}" for line in reversed(self._log) if line.strip()), "")
        problem = f"The worker process has ended{cause}.{last if reason != 'exit code 0' else ''}"
        self._give_up(WorkerError(problem, "The next request restarts it.", self.log))

    def _ensure_running(self) -> bool:
        """Start a worker if none is running, and return whether one was started."""
        if self._running:
            return False
        self._parser, self._log_rest, self.about = FrameParser(), b"", {}
        self._running = True
        try:
            self._transport.start(self)
        except BaseException as error:
            self._running = False
            if not isinstance(error, OSError):
                self._transport.stop()
                raise
            raise WorkerError(f"The worker cannot be started: {error}.", "Check the command of the worker.") from error
        self._request("hello", {})
        return True

    def _request(self, type: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> Request:
        if not self._running:
            raise WorkerError("The worker is not running.", "Start it first.", self.log)
        self._last_id += 1
        request = Request(self._last_id, type)
        message = Message(type, request.id, fields, arrays or {})
        self._pending[request.id] = request
        try:
            self._write(message)
        except Exception:
            self._pending.pop(request.id, None)
            raise
        return request

    def _write(self, message: Message) -> None:
        data = encode(message)
        try:
            self._transport.write(data)
        except OSError:  # the worker has ended; the transport reports this after its last output, which tells why
            pass
        except BaseException:  # such as Ctrl+C: the worker would take the next message for the rest of this one
            self._give_up(WorkerError("A message to the worker was interrupted.", "The next request restarts it."))
            raise

    def _receive(self, message: Message) -> None:
        request = self._pending.get(message.id)
        if message.id == 0 and message.type == "error":
            self._give_up(error_from(message.fields, self.log))
            return
        if request is None:
            return
        if message.type == "part":
            request.parts.append(message)
        elif message.type in ("result", "error"):
            del self._pending[message.id]
            if message.type == "result":
                request.result = message
            else:
                request.error = error_from(message.fields, self.log)
            if request.type == "hello" and not self._accept(message):
                return
        self._on_event(request, message)

    def _accept(self, hello: Message) -> bool:
        self.about = hello.fields
        if hello.fields.get("protocol") == VERSION:
            return True
        problem = f"Expected a worker with protocol {VERSION}, got protocol {hello.fields.get('protocol')}."
        self._give_up(WorkerError(problem, "Install the same version of MedCLIPSAM on both machines.", self.log))
        return False

    def _give_up(self, error: MedCLIPSAMError) -> None:
        self._running = False
        self._transport.stop()
        self._fail_all(error)
        self._on_event(None, Message("ended", 0, {"problem": error.problem, "remedy": error.remedy}))

    def _fail_all(self, error: MedCLIPSAMError) -> None:
        pending, self._pending = self._pending, {}
        fields = {"problem": error.problem, "remedy": error.remedy, "kind": type(error).__name__}
        for request in pending.values():
            request.error = error
            self._on_event(request, Message("error", request.id, fields))
