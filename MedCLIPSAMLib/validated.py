"""Settings dataclasses whose values pydantic checks at construction, with the errors of this package."""

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
"""A seed that both torch and NumPy accept."""
Choice = Annotated[E, Strict(False)]
"""A member of an enum, or its value as text."""


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def settings_class(cls: type[T]) -> type[T]:
    """Make a frozen dataclass that refuses values of the wrong type or out of range with `InputError`.

    Annotations give the ranges (`Annotated[int, Field(ge=1)]`); the description of a field is the remedy if a number is
    out of range. Numbers must be finite, unless the annotation allows others, and may be NumPy scalars. Conditions on
    several fields belong in `__post_init__`.
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
        defaults: an instance of a `settings_class`.
        changes: JSON values by name, as in {"saliency": {"steps": 5}, "presence_threshold": 0}. Fields that are not
            named, or are null, keep their values.
        path: place of these settings within larger ones, for messages.

    Raises:
        InputError: `changes` is not an object, a name is unknown, or the settings refuse a value.
    """
    if not isinstance(changes, Mapping):
        what = f"a group of settings as '{path}'" if path else "an object of settings"
        raise InputError(f"Expected {what}, got {changes!r}.", 'Give {"name": value}.')
    values = dataclasses.asdict(cast(Any, defaults))
    return from_json(type(defaults), _merge(values, with_current_names(dict(changes)), defaults), path)


def from_json(kind: type[T], values: Any, path: str = "") -> T:
    """Create an instance of a `settings_class` from JSON values; see `with_changes`."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(_plain(values)))
    except ValidationError as error:
        raise _refusal(error, kind, path) from None


def _plain(value: Any) -> Any:
    """Replace NumPy scalars in a value, dictionary or list by Python's, without importing NumPy."""
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
            break  # the rest is a location within the value
        known = inner
        name = list(known)[place] if isinstance(place, int) else place  # the first arguments may be positional
        path.append(name)
        inner = _fields_of(known[name].annotation) if name in known else {}
    name, where = path[-1] if path else "", ".".join([within, *path] if within else path) or kind.__name__
    if first["type"] == "unexpected_keyword_argument":
        return InputError(f"Expected a known setting, got '{where}'.", f"Use one of: {', '.join(known)}.")
    if first["type"] == "missing":
        needed = known[name].description if name in known else None
        return InputError(f"{kind.__name__} needs '{where}', which is missing.", needed or "Give it.")
    expected = first["msg"].removeprefix("Input should be ")
    expected = f"a value {expected}" if expected.startswith(("greater", "less")) else expected
    of_range = first["type"].startswith(("greater", "less"))
    description = known[name].description if of_range and name in known else None
    remedy = description or "Choose another value."
    return InputError(f"Setting '{where}': expected {expected}, got {first['input']!r}.", remedy)
