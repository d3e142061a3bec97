"""Numbers and words of DICOM tags, as programs write them."""

from __future__ import annotations

import re
from typing import Any


def numbers(value: Any) -> list[float]:
    """Return the numbers of a value with one or several; empty where it has none."""
    if value is None or value == "":
        return []
    values = [value] if isinstance(value, (str, bytes, int, float)) or not hasattr(value, "__iter__") else list(value)
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def holds_words(text: str, words: str) -> bool:
    """Tell whether a text holds words as they are, in any case; "_" ends a word, and 5 is no word of 1.5."""
    pattern = rf"(?<![^\W_])(?<!\d\.){re.escape(words.casefold())}(?![^\W_])(?!\.\d)"
    return bool(words) and re.search(pattern, text.casefold()) is not None
