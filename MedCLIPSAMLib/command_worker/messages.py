"""Messages over the socket: JSON objects, each preceded by its length; the first one carries open files."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

LIMIT = 4 << 20
"""Maximum bytes of an object; requests hold the arguments and the environment of a command."""
_LENGTH = struct.Struct(">I")


def pack(content: dict[str, Any]) -> bytes:
    """Encode an object as bytes; unpaired surrogates, which file names can contain, are preserved."""
    data = json.dumps(content).encode("ascii")
    return _LENGTH.pack(len(data)) + data


def receive(connection: socket.socket, files: int = 0) -> tuple[dict[str, Any] | None, list[int]]:
    """Wait for an object and the open files sent with it; the object is None if the other side is gone.

    Args:
        files: maximum number of open files.

    Raises:
        ValueError: the message is not an object, ends early or is too large. Files sent with it are closed.
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
