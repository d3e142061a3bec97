"""Settings that arrive as JSON, laid over the defaults of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from ..errors import InputError

T = TypeVar("T")


def with_changes(defaults: T, changes: Mapping[str, Any], path: str = "") -> T:
    """A copy of a (nested) dataclass with some values changed.

    Args:
        changes: {"saliency": {"steps": 5}, "presence_threshold": 0}; what is not named stays.

    Raises:
        InputError: an unknown name, a value of another type, or one that the dataclass itself refuses.
    """
    known = [field.name for field in fields(defaults)]
    values = {}
    for name, value in changes.items():
        where = f"{path}{name}"
        if name not in known:
            raise InputError(
                f"There is no setting '{where}'.", f"Use one of: {', '.join(path + each for each in known)}."
            )
        values[name] = _checked(getattr(defaults, name), value, where)
    return replace(defaults, **values)


def _checked(default: Any, value: Any, where: str) -> Any:
    if is_dataclass(default):
        if not isinstance(value, dict):
            raise InputError(f"The setting '{where}' is a group and {value!r} came.", "Give an object of its settings.")
        return with_changes(default, value, f"{where}.")
    if isinstance(default, StrEnum) and isinstance(value, str):
        return value  # the dataclass checks it
    if isinstance(default, float) and type(value) is int:
        return float(value)
    optional_text = default is None and isinstance(value, str)
    if not optional_text and value is not None and type(value) is not type(default):
        raise InputError(
            f"The setting '{where}' is {value!r}.", f"Give a {type(default).__name__}, such as {default!r}."
        )
    return default if value is None else value
