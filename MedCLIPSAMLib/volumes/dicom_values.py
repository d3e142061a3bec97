"""Numbers and words of DICOM tags, including nonstandard spellings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def numbers(value: Any) -> list[float]:
    """Return the numbers of a value with one or several, also with decimal commas; empty if it has none."""
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, (str, bytes, int, float)) or not hasattr(value, "__iter__") else list(value)
    try:
        return [float(value.replace(",", ".") if isinstance(value, str) else value) for value in values]
    except (TypeError, ValueError):
        return []


def comma_notes(values: Iterable[tuple[str, Any]]) -> list[str]:
    """Make a note on numbers written with a decimal comma, which DICOM does not allow; at most one sentence.

    Args:
        values: keywords of tags with their values.
    """
    for keyword, value in values:
        written = shown(value)
        if "," in written and numbers(value):
            return [f"{keyword} is written with a decimal comma ({written}), and was read as such."]
    return []


def shown(value: Any) -> str:
    """Format one or several values as DICOM does."""
    return str(value) if isinstance(value, str) or not hasattr(value, "__iter__") else "\\".join(map(str, value))


def holds_words(text: str, words: str) -> bool:
    """Tell whether a text contains whole words, ignoring case; "_" separates words, and 5 is not a word of 1.5."""
    pattern = rf"(?<![^\W_])(?<!\d\.){re.escape(words.casefold())}(?![^\W_])(?!\.\d)"
    return bool(words) and re.search(pattern, text.casefold()) is not None
