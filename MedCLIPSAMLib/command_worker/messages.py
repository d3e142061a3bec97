"""Messages over the socket: JSON objects, each preceded by its length, the first one with open files."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

LIMIT = 4 << 20
"""Maximum bytes of an object; a request holds the arguments and the environment of a command."""
_LENGTH = struct.Struct(">I")


def pack(content: dict[str, Any]) -> bytes:
    """Write an object as bytes; unpaired surrogates, which file names can have, stay."""
    data = json.dumps(content).encode("ascii")
    return _LENGTH.pack(len(data)) + data


def receive(connection: socket.socket, files: int = 0) -> tuple[dict[str, Any] | None, list[int]]:
    """Wait for an object, and for open files sent with it: None where the other side has gone.

    Raises:
        ValueError: no object, or one that is too large; the files sent with it are closed.
    """
    data, found = socket.recv_fds(connection, _LENGTH.size, files)[:2] if files else (connection.recv(_LENGTH.size), [])
    try:
        while data and len(data) < _LENGTH.size:
            data += connection.recv(_LENGTH.size - len(data)) or _gone()
        if not data:
            return None, found
        (size,) = _LENGTH.unpack(data)
        if size > LIMIT:
            raise ValueError(f"expected a message of at most {LIMIT} bytes, got {size}")
        content = bytearray()
        while len(content) < size:
            content += connection.recv(min(size - len(content), 1 << 16)) or _gone()
        read = json.loads(content.decode("ascii"))
        if not isinstance(read, dict):
            raise ValueError("expected a JSON object as message")
    except BaseException:
        for file in found:
            os.close(file)
        raise
    return read, list(found)


def _gone() -> bytes:
    raise ValueError("a message ends early")
