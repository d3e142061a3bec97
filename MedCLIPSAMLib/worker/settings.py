"""Settings that arrive as JSON, laid over the defaults of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ..errors import InputError

T = TypeVar("T")


def with_changes(defaults: T, changes: Mapping[str, Any], path: str = "") -> T:
    """Return a copy of a (nested) dataclass with some values changed.

    Args:
        changes: {"saliency": {"steps": 5}, "presence_threshold": 0}; what is not named stays.

    Raises:
        InputError: no object, an unknown name, a value of another type or that is not finite, or one that the
            dataclass itself refuses.
    """
    if not isinstance(changes, Mapping):
        what = f"a group of settings as '{path.rstrip('.')}'" if path else "an object of settings"
        raise InputError(f"Expected {what}, got {changes!r}.", 'Give {"name": value}.')
    known = [field.name for field in fields(defaults)]  # type: ignore[arg-type]  # a dataclass
    values = {}
    for name, value in changes.items():
        where = f"{path}{name}"
        if name not in known:
            raise InputError(
                f"There is no setting '{where}'.", f"Use one of: {', '.join(path + each for each in known)}."
            )
        values[name] = _checked(getattr(defaults, name), value, where)
        if name == "by_word":
            for word, each in values[name].items():
                with_changes(defaults.saliency, each, f"{where}.{word}.")  # type: ignore[attr-defined]
    return replace(defaults, **values)  # type: ignore[type-var]


def _checked(default: Any, value: Any, where: str) -> Any:
    if is_dataclass(default):
        return with_changes(default, value, f"{where}.")
    if isinstance(default, float) and type(value) is int and abs(value) < 2**53:
        return float(value)
    optional_text = default is None and isinstance(value, str)
    wrong_type = not optional_text and value is not None and type(value) is not type(default)
    if wrong_type or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(
            f"The setting '{where}' is {value!r}.", f"Give a {type(default).__name__}, such as {default!r}."
        )
    return default if value is None else value
