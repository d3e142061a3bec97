"""The worker process: it reads requests from standard input, writes answers to standard output, and logs to stderr.

A second thread reads, so that a cancellation is noticed while the main thread computes. The process ends when its
input ends, after the idle time without a request, and after bytes that are not a message.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import Cancelled, InputError, MedCLIPSAMError, with_remedy
from ..logs import LogLevel, configure_logging
from ..resources import MPS_FALLBACK
from .protocol import VERSION, FrameParser, Message, ProtocolError, encode
from .reply import Answer
from .request_kinds import REQUESTS, check_request

log = logging.getLogger(__name__)

EXIT_PROTOCOL = 2


class Server:
    """Answers requests until told to stop.

    Args:
        source, sink: file descriptors to read from and write to.
        idle_seconds: end after this time without a request; 0 waits forever.
    """

    def __init__(self, source: int, sink: int, idle_seconds: float) -> None:
        self._source, self._sink, self._idle = source, sink, idle_seconds
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Serve until "shutdown" or the idle time."""
        threading.Thread(target=self._read, daemon=True).start()
        engine = None
        while True:
            try:
                message = self._requests.get(timeout=self._idle if 0 < self._idle < threading.TIMEOUT_MAX else None)
            except queue.Empty:
                log.warning("No request for %g s: the worker ends.", self._idle)
                return
            if message.type == "shutdown":
                self.send(message.id, "result", {})
                return
            if message.id not in self._open:
                continue
            started = time.perf_counter()
            log.debug("request %d: %s %s", message.id, message.type, _without_arrays(message))
            try:
                if message.type == "hello":
                    check_request(message)
                    result: Answer = _hello(), {}
                else:
                    if engine is None:
                        from .engine import Engine  # imports torch and the packages of the models, which takes seconds

                        engine = Engine()
                    result = engine.handle(message, _Reply(self, message.id))
                self.send(message.id, "result", *result)
                log.info("request %d: %s done in %.2f s", message.id, message.type, time.perf_counter() - started)
            except Exception as failure:
                error = with_remedy(failure) or failure
                if isinstance(error, Cancelled):
                    log.info("request %d: %s cancelled", message.id, message.type)
                elif isinstance(error, MedCLIPSAMError):
                    log.warning("request %d: %s refused: %s", message.id, message.type, error)
                else:
                    log.exception("request %d: %s failed", message.id, message.type)
                self.send(message.id, "error", _describe(error))

    def send(self, request: int, type: str, fields: dict, arrays: dict[str, np.ndarray] | None = None) -> None:
        """Send a message of a request, unless it was cancelled or its last message (result or error) was sent."""
        data = encode(Message(type, request, fields, arrays or {}))
        with self._lock:
            if request not in self._open:
                return
            if type in ("result", "error"):
                self._open.discard(request)
            self._write(data)

    def is_open(self, request: int) -> bool:
        """Tell whether a request is still unanswered."""
        return request in self._open

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._sink, view[: 1 << 20]) :]
        except OSError:  # the client is gone
            os._exit(0)

    def _read(self) -> None:
        parser = FrameParser()
        try:
            while data := os.read(self._source, 1 << 20):
                for message in parser.feed(data):
                    self._receive(message)
            parser.end()
        except ProtocolError as error:
            log.error("%s", error)
            if self._lock.acquire(timeout=1):
                self._write(encode(Message("error", 0, _describe(error))))
            os._exit(EXIT_PROTOCOL)
        except OSError:
            pass
        os._exit(0)

    def _receive(self, message: Message) -> None:
        if message.type == "cancel":
            try:
                check_request(message)
            except InputError as error:
                log.warning("cancel refused: %s", error)
                return
            self.send(message.fields.get("request") or 0, "error", _describe(Cancelled()))
            return
        if message.id == 0 or message.id in self._seen:
            raise ProtocolError(f"Expected a new number for the request '{message.type}', got {message.id}.")
        self._seen.add(message.id)
        with self._lock:
            self._open.add(message.id)
        self._requests.put(message)


class _Reply:
    """The engine's reply to one request; once the request is cancelled, messages are dropped."""

    def __init__(self, server: Server, request: int) -> None:
        self._server, self._request = server, request

    def send(self, type: str, fields: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
        self._server.send(self._request, type, fields, arrays)

    def cancelled(self) -> bool:
        return not self._server.is_open(self._request)


def _hello() -> dict[str, Any]:
    return {
        "protocol": VERSION,
        "version": __version__,
        "requests": list(REQUESTS),
        "host": platform.node(),
        "python": platform.python_version(),
        "pid": os.getpid(),
    }


def _without_arrays(message: Message) -> str:
    """Describe the fields of a message and the shapes of its arrays, for the log."""
    shapes = ", ".join(f"{name} {array.shape}" for name, array in message.arrays.items())
    return f"{dict(message.fields)} {shapes}".strip()


def _describe(error: Exception) -> dict[str, str]:
    if isinstance(error, MedCLIPSAMError):
        return {"problem": error.problem, "remedy": error.remedy, "kind": type(error).__name__}
    return {
        "problem": f"The worker failed: {type(error).__name__}: {error}",
        "remedy": "See the worker's log, and report the problem.",
        "kind": "InternalError",
    }


def main(arguments: list[str] | None = None) -> None:
    """Serve as `python -m MedCLIPSAMLib.worker`."""
    parser = argparse.ArgumentParser(
        "MedCLIPSAMLib.worker", description="Serve the models on standard input and output."
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=3600, help="end after this time without a request; 0: never (3600)"
    )
    parser.add_argument("--log-level", type=LogLevel, choices=list(LogLevel), default=LogLevel.WARNING)
    parser.add_argument("--log-file", type=Path, help="also write the log to this file; by default only to stderr")
    options = parser.parse_args(arguments)
    os.environ.setdefault(MPS_FALLBACK, "1")  # before torch is imported, which reads it once
    source, sink = _take_streams()
    try:
        configure_logging(options.log_level, options.log_file)
    except MedCLIPSAMError as error:
        parser.error(str(error))
    log.info("worker %s, protocol %d, process %d on %s", __version__, VERSION, os.getpid(), platform.node())
    Server(source, sink, options.idle_seconds).run()
    sys.stderr.flush()
    os._exit(0)  # immediately: the reader thread waits in a call that cannot be interrupted


def _take_streams() -> tuple[int, int]:
    """Reserve standard input and output for messages; everything printed after this goes to standard error."""
    if sys.platform == "win32":
        import msvcrt

        for stream in (0, 1):
            msvcrt.setmode(stream, os.O_BINARY)
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, sink
