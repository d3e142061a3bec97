"""Send a command line to the worker, if one is running, with this process's open files, to which the worker writes."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..errors import EXIT_ERROR, EXIT_INTERRUPTED, MedCLIPSAMError
from ..signals import ending_signals
from .identity import SWITCH, difference, identity
from .messages import pack, receive
from .place import SOCKET, check, folder, supported

COMMANDS = ("segment",)
"""The commands that the worker runs: those that need the models and keep no other state."""
INTERRUPT, TERMINATE = b"I", b"T"
PATIENCE = 30.0
"""Seconds within which the worker must answer whether it accepts a command."""


def connect() -> socket.socket | None:
    """Connect to the worker; return None if there is none.

    Raises:
        ConnectionRefusedError: the worker has crashed. PlaceError: its folder cannot be trusted. OSError: the
            connection fails otherwise.
    """
    place = folder()
    if not supported() or not os.path.lexists(place / SOCKET):
        return None
    check(place)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(str(place / SOCKET))
    except BaseException:
        connection.close()
        raise
    return connection


def ask(question: str) -> dict[str, Any] | None:
    """Ask the worker for its "status", or to "stop"; return its answer, or None if none is running.

    Raises:
        OSError: the worker does not answer. PlaceError: its folder cannot be trusted.
    """
    try:
        connection = connect()
    except ConnectionRefusedError:
        return None
    if connection is None:
        return None
    with connection:
        connection.sendall(pack({"ask": question}))
        try:
            answer, _ = receive(connection)
            if question == "stop":
                while connection.recv(1):  # until the worker has ended
                    pass
        except ValueError as error:
            raise OSError(f"the worker sent no answer: {error}") from error
    return answer


def hand_over(arguments: Sequence[str]) -> int | None:
    """Let the worker run a command line; return the exit code, or None if this process has to run it."""
    if not arguments or arguments[0] not in COMMANDS or {"-h", "--help", "--no-worker"} & set(arguments):
        return None
    if os.environ.get(SWITCH) == "off" or not all((sys.stdin, sys.stdout, sys.stderr)):
        return None
    try:
        connection = connect()
        if connection is None:
            return None
        with connection:
            refused = _send(connection, _request(arguments))
            if not refused:
                return _wait(connection)
    except ConnectionRefusedError:
        refused = "has crashed ('medclipsam worker start' starts a new one)"
    except MedCLIPSAMError as error:
        refused = f"cannot be used: {error}"
    except (OSError, ValueError) as error:
        refused = f"does not answer: {error}"
    print(f"note: The worker {refused}; the models are loaded for this command.", file=sys.stderr)
    return None


def _request(arguments: Sequence[str]) -> dict[str, Any]:
    """Describe everything a command depends on except its open files."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "ask": "run",
        "identity": identity(),
        "arguments": list(arguments),
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "umask": mask,
        "encoding": [sys.stdin.encoding, sys.stdout.encoding, sys.stderr.encoding],
    }


def _send(connection: socket.socket, request: dict[str, Any]) -> str:
    """Send a command with this process's standard streams; return why the worker refuses it, or "" if it accepts."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    data = pack(request)
    sent = socket.send_fds(connection, [data], [0, 1, 2])
    with suppress(BrokenPipeError):  # the worker may answer before it has read everything
        connection.sendall(data[sent:])
    answer, _ = receive(connection)
    if answer is None:
        raise ConnectionResetError("it ended")
    if answer.get("answer") == "busy":
        return "is busy"
    if answer.get("answer") == "another":
        return f"has another {difference(request['identity'], answer['identity'])}"
    return ""


def _wait(connection: socket.socket) -> int:
    """Wait for the exit code and pass on signals; stop waiting at the third one."""
    connection.settimeout(None)
    signals = 0

    def forward(number: int, *_: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 2:
            raise KeyboardInterrupt
        with suppress(OSError):
            connection.sendall(TERMINATE if number == signal.SIGTERM else INTERRUPT)

    passed_on = {signal.SIGINT, signal.SIGTERM}.intersection(ending_signals())
    before = {number: signal.signal(number, forward) for number in passed_on}
    try:
        answer, _ = receive(connection)
    except KeyboardInterrupt:  # closing the connection ends the command
        return EXIT_INTERRUPTED
    except (OSError, ValueError):
        answer = None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if answer is None or type(answer.get("code")) is not int:
        print("error: The worker ended while it was running this command.", file=sys.stderr)
        print("  Start it again, or add --no-worker.", file=sys.stderr)
        return EXIT_ERROR
    return answer["code"]
