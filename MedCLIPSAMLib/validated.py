"""Dataclasses of settings whose values pydantic checks at construction, with this package's errors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from .errors import InputError
from .renamed_settings import with_current_names

T = TypeVar("T")
E = TypeVar("E")

Share = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A seed that torch and NumPy take."""
Choice = Annotated[E, Strict(False)]
"""A member of an enum, or its text."""


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def settings_class(cls: type[T]) -> type[T]:
    """Make a frozen dataclass that refuses values of another type or out of range with `InputError`.

    Ranges are in the annotations (`Annotated[int, Field(ge=1)]`); the description of a field is the remedy for a number
    out of its range. Numbers are finite, unless the annotation allows others, and may be NumPy's. Conditions on several
    fields are checked by `__post_init__`.
    """
    made = dataclass(cls, frozen=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
    plain = made.__init__

    def init(self: Any, *values: Any, **named: Any) -> None:
        try:
            plain(self, *map(_plain, values), **{name: _plain(value) for name, value in named.items()})
        except ValidationError as error:
            raise _refusal(error, made) from None

    made.__init__ = init  # type: ignore[method-assign]
    return cast(type[T], made)


def with_changes(defaults: T, changes: Mapping[str, Any], path: str = "") -> T:
    """Return a copy of settings with some values changed.

    Args:
        defaults: of a `settings_class`.
        changes: JSON values by name, {"saliency": {"steps": 5}, "presence_threshold": 0}; other fields, and null ones,
            stay.
        path: of these settings within larger ones, for messages.

    Raises:
        InputError: no object, an unknown name, or a value that the settings refuse.
    """
    if not isinstance(changes, Mapping):
        what = f"a group of settings as '{path}'" if path else "an object of settings"
        raise InputError(f"Expected {what}, got {changes!r}.", 'Give {"name": value}.')
    values = dataclasses.asdict(cast(Any, defaults))
    return from_json(type(defaults), _merge(values, with_current_names(dict(changes)), defaults), path)


def from_json(kind: type[T], values: Any, path: str = "") -> T:
    """Make settings of a `settings_class` from JSON values; see `with_changes`."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_plain(values)))
    except ValidationError as error:
        raise _refusal(error, kind, path) from None


def _plain(value: Any) -> Any:
    """Replace the scalars of NumPy in a value, or in a table or list, by Python's; this module does not import it."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value.item() if hasattr(value, "dtype") and value.ndim == 0 else value


def _merge(values: dict[str, Any], changes: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    merged = dict(values)
    for name, value in changes.items():
        group = getattr(defaults, name, None)
        if dataclasses.is_dataclass(group) and isinstance(value, dict):
            value = _merge(values[name], value, group)
        if value is not None or name not in values:
            merged[name] = value
    return merged


def _fields_of(kind: Any) -> dict[str, FieldInfo]:
    return getattr(kind, "__pydantic_fields__", {})


def _refusal(error: ValidationError, kind: type, within: str = "") -> InputError:
    """Convert the first validation error to an `InputError`."""
    first = error.errors(include_url=False)[0]
    known = inner = _fields_of(kind)
    path: list[str] = []
    for place in first["loc"]:
        if path and not inner:
            break  # a place within the value
        known = inner
        name = list(known)[place] if isinstance(place, int) else place  # the first may be given by position
        path.append(name)
        inner = _fields_of(known[name].annotation) if name in known else {}
    name, where = path[-1] if path else "", ".".join([within, *path] if within else path) or kind.__name__
    if first["type"] == "unexpected_keyword_argument":
        return InputError(f"Expected a known setting, got '{where}'.", f"Use one of: {', '.join(known)}.")
    if first["type"] == "missing":
        needed = known[name].description if name in known else None
        return InputError(f"{kind.__name__} needs '{where}', which was not given.", needed or "Give it.")
    expected = first["msg"].removeprefix("Input should be ")
    expected = f"a value {expected}" if expected.startswith(("greater", "less")) else expected
    of_range = first["type"].startswith(("greater", "less"))
    description = known[name].description if of_range and name in known else None
    remedy = description or "Choose another value."
    return InputError(f"Setting '{where}': expected {expected}, got {first['input']!r}.", remedy)
