"""Numbers of DICOM tags, as programs write them."""

from __future__ import annotations

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
