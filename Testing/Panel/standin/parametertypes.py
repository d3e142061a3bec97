"""Types of parameters: how a value is kept in a vtkMRMLScriptedModuleNode, and what is refused.

As in Slicer's Base/Python/slicer/parameterNodeWrapper: serializers.py and util.py. Where
versions differ it is the oldest one, 5.8: a union is written with typing.Union or typing.Optional, not with a bar.
"""

from __future__ import annotations

import enum
import pathlib
import typing
from collections.abc import Callable, MutableSequence
from typing import Any

import slicer
import slicer.util

from .validators import IsInstance, NotNone, Validator

Value = Any
"""What a parameter holds."""


def split(annotation: Any) -> tuple[Any, tuple]:
    """The type of an annotation, and what Annotated adds to it."""
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *notes = typing.get_args(annotation)
        return kind, tuple(notes)
    return annotation, ()


class Serializer:
    """How a value of a type is kept: here as one text.

    Args:
        kind: str, int, float, bool, an enum or pathlib.Path.
        validators: refuse values before anything is written.
    """

    def __init__(self, kind: Any, validators: list[Validator]) -> None:
        self.type, self.validators = kind, validators

    def default(self) -> Value:
        return next(iter(self.type)) if isinstance(self.type, enum.EnumMeta) else self.type()

    def validate(self, value: Value) -> None:
        for validator in self.validators:
            validator.validate(value)

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def write(self, node: Any, name: str, value: Value) -> None:
        self.validate(value)
        with slicer.util.NodeModify(node):
            self._write(node, name, value)

    def _write(self, node: Any, name: str, value: Value) -> None:
        node.SetParameter(name, value.name if isinstance(self.type, enum.EnumMeta) else str(value))

    def read(self, node: Any, name: str) -> Value:
        text = node.GetParameter(name)
        if self.type is bool:
            return text == "True"
        if isinstance(self.type, enum.EnumMeta):
            if text not in self.type.__members__:
                raise ValueError(f"{text!r} is no name in {self.type!r}")
            return self.type[text]
        return self.type(text)


class NodeSerializer(Serializer):
    """A node by reference, in a role of the parameter's name; an empty text tells that there is a value, maybe None."""

    def default(self) -> None:
        return None

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)

    def _write(self, node: Any, name: str, value: Value) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Value:
        return node.GetNodeReference(name)


class NoneSerializer(Serializer):
    """None, as a part of a union."""

    def default(self) -> None:
        return None

    def _write(self, node: Any, name: str, value: Value) -> None:
        node.SetParameter(name, "True")

    def read(self, node: Any, name: str) -> None:
        return None


class ObservedList(MutableSequence):
    """A list in a parameter: changing it changes the parameter."""

    def __init__(self, values: list, save: Callable[[list], None]) -> None:
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

    def insert(self, index: int, value: Value) -> None:
        self._values.insert(index, value)
        self._save(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"


class ListSerializer(Serializer):
    """A list: its length in name.len, its elements in name.0 and so on."""

    def __init__(self, element: Serializer, validators: list[Validator]) -> None:
        super().__init__(list, validators)
        self._element = element

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(f"{name}.len")

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.isIn(node, name) else 0

    def remove(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self._element.remove(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")

    def validate(self, value: Value) -> None:
        super().validate(value)
        for item in value:
            self._element.validate(item)

    def _write(self, node: Any, name: str, value: Value) -> None:
        before, count = self._length(node, name), len(value)
        for index, item in enumerate(value):
            self._element.write(node, f"{name}.{index}", item)
        node.SetParameter(f"{name}.len", str(count))
        for index in range(count, before):
            self._element.remove(node, f"{name}.{index}")

    def read(self, node: Any, name: str) -> ObservedList:
        values = [self._element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(values, lambda changed: self.write(node, name, changed))


class UnionSerializer(Serializer):
    """One of several types, the first in name.0 and so on; of a type and None the default is None."""

    def __init__(self, options: list[Serializer], validators: list[Validator]) -> None:
        super().__init__(typing.Union, validators)
        self._options = options

    def default(self) -> Value:
        optional = len(self._options) == 2 and isinstance(self._options[1], NoneSerializer)
        return None if optional else self._options[0].default()

    def _place(self, value: Value) -> int:
        for index, option in enumerate(self._options):
            if isinstance(value, option.type) and (option.type is not int or type(value) is int):
                return index
        raise TypeError(f"Expected one of {[option.type for option in self._options]}, got {value!r}")

    def validate(self, value: Value) -> None:
        super().validate(value)
        self._options[self._place(value)].validate(value)

    def isIn(self, node: Any, name: str) -> bool:
        return any(option.isIn(node, f"{name}.{index}") for index, option in enumerate(self._options))

    def remove(self, node: Any, name: str) -> None:
        for index, option in enumerate(self._options):
            option.remove(node, f"{name}.{index}")

    def _write(self, node: Any, name: str, value: Value) -> None:
        self.remove(node, name)
        index = self._place(value)
        self._options[index].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Value:
        for index, option in enumerate(self._options):
            if option.isIn(node, f"{name}.{index}"):
                return option.read(node, f"{name}.{index}")
        raise KeyError(f"There is no value of {name}")


makers: list[Callable[[Any, list[Validator]], Serializer | None]] = []
"""Functions that give the serializer of other types, or None."""


def serializer(annotation: Any) -> tuple[Serializer, list[Any]]:
    """The serializer of an annotation, and what of the annotation is left.

    Raises:
        TypeError: Slicer 5.8 has no parameters of this type.
        NotImplementedError: it has, but the stand-in does not.
    """
    kind, notes = split(annotation)
    own = [note for note in notes if isinstance(note, Validator)]
    rest = [note for note in notes if not isinstance(note, Validator)]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (int, float):
        return Serializer(kind, [NotNone(), IsInstance((int, float) if kind is float else int), *own]), rest
    if kind in (str, bool, pathlib.Path):
        return Serializer(kind, [NotNone(), IsInstance(kind), *own]), rest
    if kind is type(None):
        return NoneSerializer(kind, own), rest
    if isinstance(kind, enum.EnumMeta):
        return Serializer(kind, [IsInstance(kind), *own]), rest
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeSerializer(kind, [IsInstance(kind), *own]), rest
    if origin is list:
        return ListSerializer(serializer(arguments[0])[0], own), rest
    if origin is typing.Union:
        return UnionSerializer([serializer(argument)[0] for argument in arguments], own), rest
    for make in makers:
        made = make(kind, own)
        if made is not None:
            return made, rest
    if origin in (dict, tuple) or kind in (list, dict, typing.Any):
        raise NotImplementedError(f"the stand-in has no parameters of {annotation}")
    raise TypeError(f"Slicer 5.8 has no parameters of {annotation}")
