"""Framed messages between a client and the worker: a JSON header, then raw array bytes.

    frame   = magic "MCS1" | header bytes, uint32 | payload bytes, uint64 (both big-endian) | header | payload
    header  = UTF-8 JSON object {"type": text, "id": number, "fields": object, "arrays": [...]}
    array   = {"name": text, "dtype": one of DTYPES, "shape": [...], "bytes": number}, in the order of the payload

The payload is the arrays one after another, C order, little-endian. Nothing received is ever executed or unpickled.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import MedCLIPSAMError, shorten

VERSION = 1
"""Version of the protocol, which must be the same in client and worker."""

MAGIC = b"MCS1"
DTYPES = {"uint8": "|u1", "int16": "<i2", "int32": "<i4", "float32": "<f4"}
MAX_HEADER = 1 << 20
MAX_PAYLOAD = 4 << 30
MAX_DIMENSIONS = 4
REMEDY = "Restart the worker, with the same version as the program that uses it."

_PREAMBLE = struct.Struct(">4sIQ")


class ProtocolError(MedCLIPSAMError):
    """Bytes that are not a message. The rest of the stream is unusable: nothing tells where the next frame begins."""

    def __init__(self, problem: str, remedy: str = REMEDY) -> None:
        super().__init__(problem, remedy)


@dataclass(frozen=True)
class Message:
    """One message in either direction.

    Args:
        type: kind of message, such as "segment" or "progress".
        id: number of the request that the message is or answers; 0 if there is none.
        fields: name -> JSON value.
        arrays: name -> array, of the types in `DTYPES`.
    """

    type: str
    id: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """Encode a message as one frame.

    Raises:
        ProtocolError: an array has another type, or the frame exceeds the limits.
        TypeError, ValueError: JSON cannot express a field.
    """
    described, parts = [], []
    for name, array in message.arrays.items():
        if array.dtype.name not in DTYPES:
            raise ProtocolError(f"The array '{name}' has type {array.dtype}.", f"Use one of: {', '.join(DTYPES)}.")
        part = np.ascontiguousarray(array, DTYPES[array.dtype.name]).tobytes()
        described.append({"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "bytes": len(part)})
        parts.append(part)
    content = {"type": message.type, "id": message.id, "fields": dict(message.fields), "arrays": described}
    header = json.dumps(content, allow_nan=False, separators=(",", ":"), default=_number).encode()
    size = sum(map(len, parts))
    _check_sizes(len(header), size)
    _layout(described, size)
    return b"".join([_PREAMBLE.pack(MAGIC, len(header), size), header, *parts])


def _number(value: object) -> Any:
    """Convert a NumPy number for JSON; refuse any other value."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"expected a JSON value, got {type(value).__name__}")


class FrameParser:
    """Turns bytes that arrive in pieces of any size into messages.

    It stores only what has arrived: the sizes that a frame claims are checked, but never allocated. After an error
    every further call raises the same error.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._sizes: tuple[int, int] | None = None
        self._header: dict[str, Any] | None = None
        self._error: ProtocolError | None = None

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete.

        Raises:
            ProtocolError: a message is malformed or oversized. Complete messages before it in the same piece are lost.
        """
        if self._error:
            raise self._error
        self._buffer += data
        messages = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except ProtocolError as error:
            self._error, self._buffer = error, bytearray()
            raise
        return messages

    def end(self) -> None:
        """Refuse the end of the stream within a message.

        Raises:
            ProtocolError: only a part of a message has arrived.
        """
        if self._buffer or self._sizes:
            raise ProtocolError("The input ended within a message.", "Send it again; the request was not processed.")

    def _next(self) -> Message | None:
        if self._sizes is None:
            start = bytes(self._buffer[: len(MAGIC)])
            if not MAGIC.startswith(start):
                text = bytes(self._buffer[:80]).decode("utf-8", errors="replace")
                raise ProtocolError(
                    f"Expected a message, got {text!r}.",
                    "Nothing else may write to this stream: turn off what the shell prints at login.",
                )
            if len(self._buffer) < _PREAMBLE.size:
                return None
            _, header, payload = _PREAMBLE.unpack(self._take(_PREAMBLE.size))
            _check_sizes(header, payload)
            self._sizes = header, payload
        header, payload = self._sizes
        if self._header is None:
            if len(self._buffer) < header:
                return None
            self._header = _read_header(self._take(header), payload)
        if len(self._buffer) < payload:
            return None
        content, data = self._header, self._take(payload)
        self._sizes = self._header = None
        arrays = {
            name: np.frombuffer(data, DTYPES[dtype], count, offset).reshape(shape)
            for name, dtype, shape, count, offset in _layout(content["arrays"], payload)
        }
        return Message(content["type"], content["id"], content["fields"], arrays)

    def _take(self, count: int) -> bytearray:
        taken = self._buffer[:count]
        del self._buffer[:count]
        return taken


def _check_sizes(header: int, payload: int) -> None:
    if header > MAX_HEADER or payload > MAX_PAYLOAD:
        raise ProtocolError(
            f"Expected at most {MAX_HEADER} header and {MAX_PAYLOAD} array bytes, got {header} and {payload}.",
            "Send the slices in several messages.",
        )


def _read_header(data: bytearray, payload: int) -> dict[str, Any]:
    try:
        content = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"The header of a message cannot be read: {shorten(str(error), 200)}.") from None
    kinds = {"type": str, "id": int, "fields": dict, "arrays": list}
    if not isinstance(content, dict) or content.keys() != kinds.keys():
        raise ProtocolError(f"Expected an object of {', '.join(kinds)} as the header of a message.")
    for name, kind in kinds.items():
        if type(content[name]) is not kind:
            raise ProtocolError(f"Expected {kind.__name__} as '{name}' in the header of a message.")
    if not 0 <= content["id"] < 1 << 53:
        raise ProtocolError("The number of a message is out of range.")
    _layout(content["arrays"], payload)
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _layout(arrays: list[Any], payload: int) -> list[tuple[str, str, list[int], int, int]]:
    """Locate the arrays: the name, dtype, shape, number of elements and first byte of each.

    Raises:
        ProtocolError: a description is invalid, or the arrays do not fill the payload exactly.
    """
    found, offset, names = [], 0, set()
    for array in arrays:
        if not isinstance(array, dict) or array.keys() != {"name", "dtype", "shape", "bytes"}:
            raise ProtocolError("Expected name, dtype, shape and bytes of each array, got something else.")
        name, dtype, shape, size = array["name"], array["dtype"], array["shape"], array["bytes"]
        if not isinstance(name, str) or name in names or not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError("An array has no unique name or an unknown type.")
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or type(size) is not int:
            raise ProtocolError(f"The array '{name[:80]}' has an invalid shape.")
        if any(type(side) is not int or side < 0 for side in shape):
            raise ProtocolError(f"The array '{name[:80]}' has an invalid shape.")
        count = math.prod(shape)
        if size != count * np.dtype(DTYPES[dtype]).itemsize or math.prod(max(side, 1) for side in shape) > MAX_PAYLOAD:
            raise ProtocolError(f"The number of bytes of the array '{name[:80]}' does not fit its shape.")
        found.append((name, dtype, shape, count, offset))
        names.add(name)
        offset += size
    if offset != payload:
        raise ProtocolError(f"Expected {payload} bytes of arrays in a message, got {offset}.")
    return found
