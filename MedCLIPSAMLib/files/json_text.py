"""JSON from other sources, with limited size and depth, only finite numbers, and no duplicate keys."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from .atomic import atomic_path
from .regular import check_regular

LIMIT = 1 << 26
"""Maximum size of a file in bytes, 64 MiB."""


def read_json(path: Path, limit: int = LIMIT) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: the path is a pipe, a device or a socket.
        OSError: the file cannot be read.
        ValueError: it is larger than `limit` bytes, or see `parse_json`.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"the file has more than {limit} bytes")
    return parse_json(content.decode("utf-8-sig"))


def write_json(path: Path, value: Any, private: bool = False) -> None:
    """Write a value as a JSON file, which appears complete or not at all.

    Args:
        private: make the file readable by its owner only.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path, private) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def parse_json(text: str, constants: bool = False) -> Any:
    """Parse JSON text.

    Args:
        constants: accept NaN and Infinity too, as in tables of other programs.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, has a duplicate key, or has a number that is not finite.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_float=_finite, parse_constant=float if constants else _no_constant
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' occurs twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
