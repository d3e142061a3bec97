"""A worker as the child process of a program without an event loop, such as a script or a test."""

from __future__ import annotations

import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from .connection import Connection
from .request import Request


def worker_command(*options: str) -> list[str]:
    """Return the command that starts a worker on this machine with this Python."""
    return [sys.executable, "-m", "MedCLIPSAMLib.worker", *options]


def divide_command(command: str) -> list[str]:
    """Split a command into words as the shell of this machine does.

    On Windows, backslashes belong to paths, and only double quotes quote.

    Raises:
        ValueError: a quotation mark is not closed.
    """
    words = shlex.shlex(command, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters = True, ""
    if os.name == "nt":
        words.escape, words.quotes = "", '"'
    return list(words)


class SubprocessTransport:
    """Runs the worker as a subprocess, whose output two threads read.

    The output is passed to the client by `run_until`, on the caller's thread.

    Args:
        command: a list, or one line such as "ssh gpuhost python -m MedCLIPSAMLib.worker". It is not run by a shell.
        environment: variables added to those of this process.
    """

    def __init__(self, command: Sequence[str] | str, environment: Mapping[str, str] | None = None) -> None:
        self.command = divide_command(command) if isinstance(command, str) else list(command)
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {**os.environ, **(environment or {})}
        self._client: Connection | None = None
        self._events: queue.SimpleQueue[tuple[subprocess.Popen[bytes], str, bytes]] = queue.SimpleQueue()

    def start(self, client: Connection) -> None:
        """See `connection.Transport.start`."""
        pipe = subprocess.PIPE
        self._client = client
        self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, stderr=pipe, env=self._environment)
        logs = threading.Thread(target=self._read, args=(self.process, "log"), daemon=True)
        logs.start()
        threading.Thread(target=self._read, args=(self.process, "data", logs), daemon=True).start()

    def write(self, data: bytes) -> None:
        """See `connection.Transport.write`."""
        if self.process is None or self.process.stdin is None:
            raise BrokenPipeError("The worker is not running.")
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def stop(self) -> None:
        """See `connection.Transport.stop`."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            with suppress(OSError):  # the process did not read all bytes
                if process.stdin is not None:
                    process.stdin.close()

    def close(self) -> None:
        """End the process and wait for its end."""
        self.stop()

    def run_until(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Pass the worker's output to the client until `done` returns true.

        Raises:
            TimeoutError: `done` is still false after `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not done():
            left = None if end is None else end - time.monotonic()
            try:
                process, kind, data = self._events.get(timeout=left if left is None else max(left, 0))
            except queue.Empty:
                raise TimeoutError(f"The worker did not answer in {timeout:g} s.") from None
            if process is not self.process or self._client is None:
                continue
            if kind == "data":
                self._client.feed(data)
            elif kind == "log":
                self._client.feed_log(data)
            else:
                code = process.wait()
                self._client.ended(f"exit code {code}" if code >= 0 else f"signal {-code}")

    def wait(self, request: Request, timeout: float | None = None) -> Request:
        """Wait for the result of a request, and return the request.

        Raises:
            MedCLIPSAMError: the request failed. TimeoutError: see `run_until`.
        """
        self.run_until(lambda: request.done, timeout)
        return request.value()

    def _read(self, process: subprocess.Popen[bytes], kind: str, logs: threading.Thread | None = None) -> None:
        pipe = process.stdout if kind == "data" else process.stderr
        assert pipe is not None  # see `start`
        with pipe as stream:
            while data := os.read(stream.fileno(), 1 << 20):
                self._events.put((process, kind, data))
        if logs:
            logs.join(1)
            self._events.put((process, "ended", b""))
