"""The worker of the command line, which runs one command at a time, on its main thread, as its client would.

Other threads accept requests, so a second client learns immediately that the worker is busy. The process ends when it
is told to, or after some time without a command, which frees the GPU.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EXIT_ERROR, EXIT_HUNG_UP, EXIT_INTERRUPTED, EXIT_TERMINATED
from .borrowed import as_client
from .client import TERMINATE
from .identity import difference, identity
from .messages import pack, receive
from .place import SOCKET

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds within which a client must send its request."""


@dataclass
class _Command:
    """A command whose client waits for it to end.

    Attributes:
        connection: connection to the client.
        request: the client's request.
        files: file descriptors of the client's standard streams.
        interrupted: whether the client cancelled the command or is gone.
    """

    connection: socket.socket
    request: dict[str, Any]
    files: list[int]
    interrupted: bool = False


class CommandServer:
    """Server of the worker's socket, which runs until told to stop or until the idle time is over.

    Args:
        place: folder of the socket, accessible only to the user.
        run: runs a command line in this process and returns its exit code.
        idle_seconds: end after this time without a command; 0 waits forever.
        about: returns additional fields of "status".
    """

    def __init__(
        self,
        place: Path,
        run: Callable[[Sequence[str]], int],
        idle_seconds: float,
        about: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._socket, self._run, self._idle, self._about = place / SOCKET, run, idle_seconds, about
        self._identity = identity()
        self._commands: queue.SimpleQueue[_Command | None] = queue.SimpleQueue()  # safe to fill in a signal handler
        self._lock = threading.Lock()
        self._current: _Command | None = None
        self._interruptible = self._stopping = False
        self._stoppers: list[socket.socket] = []
        self._started = time.time()

    def serve(self) -> None:
        """Listen, and run commands until "stop", SIGTERM or the idle time."""
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        fresh = self._socket.with_name(f"{SOCKET}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener.bind(str(fresh))
        finally:
            os.umask(before)
        listener.listen()
        fresh.rename(self._socket)  # only now, so that clients that see the socket can connect
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        try:
            while not self._stopping:
                try:
                    ends = 0 < self._idle < threading.TIMEOUT_MAX
                    command = self._commands.get(timeout=self._idle if ends else None)
                except queue.Empty:
                    with self._lock:
                        self._stopping = self._current is None  # otherwise a command is about to be queued
                    log.info("no command for %g s", self._idle)
                    continue
                if command is not None:
                    self._execute(command)
        finally:
            self._socket.unlink(missing_ok=True)
            for connection in self._stoppers:
                connection.close()

    def _execute(self, command: _Command) -> None:
        started, code = time.perf_counter(), EXIT_INTERRUPTED
        threading.Thread(target=self._watch, args=(command,), daemon=True).start()
        try:
            with as_client(command.request, command.files):
                try:
                    self._interruptible = True
                    if command.interrupted:
                        raise KeyboardInterrupt
                    code = self._run(command.request["arguments"])
                except KeyboardInterrupt:
                    print("Interrupted.", file=sys.stderr)
                except Exception:
                    traceback.print_exc()
                    code = 1
                finally:
                    self._interruptible = False
        except KeyboardInterrupt:
            log.info("a command was interrupted before it began")
        except Exception:  # such as a missing folder: the worker must survive for the next command
            log.exception("a command could not be run")
            code = EXIT_ERROR
        if code in (EXIT_TERMINATED, EXIT_HUNG_UP) and not command.interrupted:
            self._stopping = True  # the signal was sent to this process, not passed on by the client
        log.info("command ended with %d after %.2f s", code, time.perf_counter() - started)
        with self._lock:
            self._current = None
        try:
            command.connection.sendall(pack({"code": code}))
        except OSError:
            log.info("the client of the command is gone")
        command.connection.close()

    def _interrupt(self, *_: object) -> None:
        if self._interruptible:
            raise KeyboardInterrupt

    def _stop(self) -> None:
        """Interrupt the running command, and end the server."""
        self._stopping = True
        self._commands.put(None)
        current = self._current
        if current is not None:
            current.interrupted = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def _watch(self, command: _Command) -> None:
        """Interrupt a command when its client asks for it or is gone."""
        while True:
            try:
                message = command.connection.recv(1)
            except OSError:
                message = b""
            with self._lock:
                if self._current is not command:
                    return
                command.interrupted = True
                kind = signal.SIGTERM if message == TERMINATE and self._interruptible else signal.SIGINT
                signal.pthread_kill(threading.main_thread().ident or 0, kind)
            if not message:
                return

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        files: list[int] = []
        try:
            connection.settimeout(PATIENCE)
            if not _is_ours(connection):
                raise ValueError("a client of another user connected")
            request, files = receive(connection, files=3)
            connection.settimeout(None)
            if request is None:
                raise ValueError("a client sent nothing")
            if request.get("ask") == "run":
                if self._take(connection, request, files):
                    return
            elif request.get("ask") == "stop":
                connection.sendall(pack({"answer": "stopping"}))
                self._stoppers.append(connection)
                self._stop()
                return
            else:
                connection.sendall(pack(self._status()))
        except (OSError, ValueError) as error:
            log.warning("a request was refused: %s", error)
        for file in files:
            os.close(file)
        connection.close()

    def _take(self, connection: socket.socket, request: dict[str, Any], files: list[int]) -> bool:
        """Queue a command and return True, or answer why it is refused and return False."""
        theirs = request.get("identity")
        expected = {"arguments": list, "directory": str, "environment": dict, "umask": int, "encoding": list}
        if not isinstance(theirs, dict) or any(type(request.get(name)) is not kind for name, kind in expected.items()):
            raise ValueError("a field of a command is missing or has the wrong type")
        if len(files) != 3:
            raise ValueError(f"expected 3 files with a command, got {len(files)}")
        if difference(self._identity, theirs):
            connection.sendall(pack({"answer": "another", "identity": self._identity}))
            return False
        command = _Command(connection, request, files)
        with self._lock:
            if self._current is not None or self._stopping:
                connection.sendall(pack({"answer": "busy"}))
                return False
            self._current = command
        try:
            connection.sendall(pack({"answer": "running"}))
        except OSError:  # the client is gone: the worker is free again
            with self._lock:
                self._current = None
            raise
        self._commands.put(command)
        return True

    def _status(self) -> dict[str, Any]:
        version, busy = self._identity["version"].partition(",")[0], self._current is not None
        status = {"pid": os.getpid(), "version": version, "seconds": time.time() - self._started, "busy": busy}
        return status | {"idle_seconds": self._idle, **self._about()}


def _is_ours(connection: socket.socket) -> bool:
    """Tell whether a client belongs to this user; only Linux is checked, as the folder keeps other users out anyway."""
    if sys.platform != "linux":
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[1] == os.geteuid()
