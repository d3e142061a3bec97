"""Types of parameters and their limits: how a value is kept in a vtkMRMLScriptedModuleNode and what is refused."""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import types
import typing
from collections.abc import MutableSequence
from typing import Any

import slicer


@dataclasses.dataclass(frozen=True)
class Default:
    value: Any


@dataclasses.dataclass(frozen=True)
class Decimals:
    value: int


@dataclasses.dataclass(frozen=True)
class SingleStep:
    value: float


@dataclasses.dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclasses.dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


@dataclasses.dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclasses.dataclass(frozen=True)
class Choice:
    choices: typing.Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class ObservedList(MutableSequence):
    """A list in a parameter: changing it changes the parameter."""

    def __init__(self, values: list, save: typing.Callable[[list], None]) -> None:
        self._values, self._save = values, save

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value) -> None:
        self._values[index] = value
        self._save(self._values)

    def __delitem__(self, index) -> None:
        del self._values[index]
        self._save(self._values)

    def insert(self, index: int, value: Any) -> None:
        self._values.insert(index, value)
        self._save(self._values)

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, ObservedList) else other)

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"


class Parameter:
    """One field: its name, type, limits and default.

    Args:
        annotation: str, int, float, bool, pathlib.Path, an enum, list[str] and so on, or a class of MRML nodes;
            in Optional or Annotated or neither.
        default: the value in the class, or None when there is none.
    """

    def __init__(self, name: str, annotation: Any, default: Any = None) -> None:
        self.name, self.annotation, self.notes = name, annotation, ()
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *self.notes = typing.get_args(annotation)
        options = (
            typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else ()
        )
        self.optional = type(None) in options
        if options:
            rest = [each for each in options if each is not type(None)]
            if len(rest) != 1:
                raise TypeError(f"{name}: the stand-in has no parameters of {annotation}")
            annotation = rest[0]
        self.element = typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else None
        self.type = list if self.element else annotation
        known = self.element or self.type
        self.is_node = isinstance(known, type) and issubclass(known, slicer.vtkMRMLNode)
        simple = known in (str, int, float, bool, pathlib.Path)
        if not (simple or (self.is_node and not self.element) or _is_enum(known)):
            raise TypeError(f"{name}: the stand-in has no parameters of {annotation}")
        self.default = default
        for note in self.notes:
            if isinstance(note, Default):
                self.default = note.value
        if self.default is None and not (self.optional or self.is_node):
            self.default = next(iter(known)) if _is_enum(self.type) else self.type()

    def note(self, kind: type) -> Any:
        """The annotation of a kind, or None."""
        return next((each for each in self.notes if isinstance(each, kind)), None)

    def check(self, value: Any) -> None:
        """Raise TypeError or ValueError for a value that this parameter cannot have."""
        if value is None:
            if not (self.optional or self.is_node):
                raise ValueError(f"{self.name} must not be None")
            return
        if self.element is not None:
            if not isinstance(value, (list, tuple, ObservedList)):
                raise TypeError(f"{self.name} is a list, not {value!r}")
            for each in value:
                self._check_type(each, self.element)
        else:
            self._check_type(value, self.type)
        for note in self.notes:
            if hasattr(note, "validate"):
                note.validate(value)

    def _check_type(self, value: Any, kind: type) -> None:
        if not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"{self.name} is of {kind.__name__}, not {value!r}")

    def is_in(self, node: Any) -> bool:
        return node.HasParameter(self.name)

    def read(self, node: Any) -> Any:
        """The value; the default is written where there is none, as Slicer does."""
        if not self.is_in(node):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.optional and not node.HasParameter(self.name + ".set"):
            return None
        if self.element is None:
            return _from_text(text, self.type)
        values = [_from_text(node.GetParameter(f"{self.name}.{index}"), self.element) for index in range(int(text))]
        return ObservedList(values, lambda changed: self.write(node, changed))

    def write(self, node: Any, value: Any) -> None:
        """Check a value and keep it in the node."""
        self.check(value)
        before = node.StartModify()
        try:
            self._write(node, value)
        finally:
            node.EndModify(before)

    def _write(self, node: Any, value: Any) -> None:
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if self.optional:
            marker = self.name + ".set"
            node.UnsetParameter(marker) if value is None else node.SetParameter(marker, "")
        if value is None:
            node.SetParameter(self.name, "")
        elif self.element is None:
            node.SetParameter(self.name, _to_text(value))
        else:
            for name in [each for each in node.GetParameterNames() if each.startswith(self.name + ".")]:
                if name.removeprefix(self.name + ".").isdigit():
                    node.UnsetParameter(name)
            node.SetParameter(self.name, str(len(value)))
            for index, each in enumerate(value):
                node.SetParameter(f"{self.name}.{index}", _to_text(each))


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _to_text(value: Any) -> str:
    return value.name if isinstance(value, enum.Enum) else str(value)


def _from_text(text: str, kind: type) -> Any:
    if kind is bool:
        return text == "True"
    return kind[text] if _is_enum(kind) else kind(text)
