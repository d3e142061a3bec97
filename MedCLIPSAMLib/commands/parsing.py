"""Parse the values of options (slices, windows, lists), and quote paths for the shell."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ..errors import InputError

if TYPE_CHECKING:
    from ..volumes.window import Window

Number = TypeVar("Number", int, float)


def quoted(path: Path) -> str:
    """Quote a path for this machine's shell; on Windows with double quotes, which all its shells accept."""
    return shlex.quote(str(path)) if os.name == "posix" else f'"{path}"'


def parse_slices(number: int | None, span: str | None, every: bool) -> tuple[int, ...] | Literal["all"] | None:
    """Parse --slice, --slices and --all, of which at most one may be given."""
    if sum((number is not None, span is not None, every)) > 1:
        raise InputError("More than one of --slice, --slices and --all was given.", "Give one.")
    if every:
        return "all"
    if span is not None:
        ends = re.fullmatch(r"\s*(-?[0-9]{1,6})\s*:\s*(-?[0-9]{1,6})\s*", span)
        if not ends or int(ends[1]) > int(ends[2]):
            raise InputError(
                f"Expected a range A:B for --slices, got '{span}'.", "Write the smaller number first, such as 40:60."
            )
        return tuple(range(int(ends[1]), int(ends[2]) + 1))
    return None if number is None else (number,)


def parse_window(text: str | None) -> Window:
    """Parse --window into None, the name of a preset, or (low, high)."""
    if text is None or ":" not in text:
        return text
    try:
        low, high = (float(value) for value in text.split(":"))
    except ValueError:
        raise InputError(
            f"Expected LOW:HIGH or a preset for --window, got '{text}'.", "Write -1000:400, or 'lung', for example."
        ) from None
    return low, high


def parse_names(text: str) -> list[str]:
    """Parse names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_numbers(option: str, text: str, kind: type[Number]) -> list[Number]:
    """Parse numbers separated by commas."""
    try:
        return [kind(part) for part in parse_names(text)]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(
            f"Expected {what} for {option}, got '{text}'.", "Separate them by commas, such as 7,8,9."
        ) from None
