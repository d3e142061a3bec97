"""Types of parameters: how a value is stored in a vtkMRMLScriptedModuleNode, and which values are refused; and packs.

They imitate Slicer's Base/Python/slicer/parameterNodeWrapper: default.py, validators.py, serializers.py,
parameterPack.py and util.py of 5.8, with the types and limits that the module uses only; any other is an error.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import typing
from collections.abc import Callable
from typing import Any

import slicer
import slicer.util


@dataclasses.dataclass
class Default:
    """The initial value of a parameter."""

    value: Any = None


class Validator:
    """The base class of annotations that refuse values."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


class WithinRange(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Expected {self.minimum} to {self.maximum}, got {value}")


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Expected a value, got None")


class IsInstance(Validator):
    """A validator that accepts None, which NotNone refuses."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Expected {self.classtype}, got {value!r}")


def split(annotation: Any) -> tuple[Any, tuple]:
    """Return the type of an annotation, and what Annotated adds to it."""
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *notes = typing.get_args(annotation)
        return kind, tuple(notes)
    return annotation, ()


class Serializer:
    """A serializer that stores a value as one text.

    Args:
        kind: str, int, float, bool or an enum.
        validators: refuse values before anything is written.
    """

    def __init__(self, kind: Any, validators: list[Validator]) -> None:
        self.type, self.validators = kind, validators

    def default(self) -> Any:
        return next(iter(self.type)) if isinstance(self.type, enum.EnumMeta) else self.type()

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def isIn(self, node: Any, name: str) -> bool:
        return node.HasParameter(name)

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        with slicer.util.NodeModify(node):
            self._write(node, name, value)

    def _write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, value.name if isinstance(self.type, enum.EnumMeta) else str(value))

    def read(self, node: Any, name: str) -> Any:
        text = node.GetParameter(name)
        if self.type is bool:
            return text == "True"
        if isinstance(self.type, enum.EnumMeta):
            if text not in self.type.__members__:
                raise ValueError(f"{text!r} is no name in {self.type!r}")
            return self.type[text]
        return self.type(text)


class NodeSerializer(Serializer):
    """A serializer of a node, as a reference with the parameter's name as role.

    An empty text marks that there is a value, which may be None.
    """

    def default(self) -> None:
        return None

    def _write(self, node: Any, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)


class PackSerializer(Serializer):
    """A serializer of a pack, with each member as name.member. A pack that is read writes changes of its members."""

    def isIn(self, node: Any, name: str) -> bool:
        first = next(iter(self.type.allParameters.values()))
        return first.serializer.isIn(node, f"{name}.{first.basename}")

    def _write(self, node: Any, name: str, value: Any) -> None:
        for key, member in self.type.allParameters.items():
            member.serializer.write(node, f"{name}.{key}", value._values[key])

    def read(self, node: Any, name: str) -> Any:
        parameters = self.type.allParameters.items()
        made = _observed(self.type)(
            **{key: member.serializer.read(node, f"{name}.{key}") for key, member in parameters}
        )
        object.__setattr__(made, "_save", lambda: self.write(node, name, made))
        return made


def serializer(annotation: Any) -> Serializer:
    """Return the serializer of an annotation.

    Raises:
        NotImplementedError: the stand-in has no parameters of this type.
    """
    kind, notes = split(annotation)
    if kind in (int, float, str, bool):
        return Serializer(kind, [NotNone(), IsInstance((int, float) if kind is float else kind), *notes])
    if isinstance(kind, enum.EnumMeta):
        return Serializer(kind, [IsInstance(kind), *notes])
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return NodeSerializer(kind, [IsInstance(kind), *notes])
    if isParameterPack(kind):
        return PackSerializer(kind, [NotNone(), IsInstance(kind), *notes])
    raise NotImplementedError(f"the stand-in has no parameters of {annotation}")


@dataclasses.dataclass(frozen=True)
class Member:
    """A field of a pack or of a wrapped class. Its default is the value itself in a pack, otherwise a `Default`."""

    basename: str
    serializer: Serializer
    default: Any
    unalteredType: Any


def members(cls: type) -> dict[str, Member]:
    """Return the annotated fields of a class."""
    hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]), include_extras=True)
    found = {}
    for name, hint in hints.items():
        kept = serializer(hint)
        default = getattr(cls, name) if hasattr(cls, name) else kept.default()
        found[name] = Member(name, kept, Default(default), hint)
    return found


def own(cls: type) -> dict[str, Callable]:
    """Return what a class defines besides its fields."""
    found = {name: value for name, value in vars(cls).items() if callable(value) or isinstance(value, property)}
    return {name: value for name, value in found.items() if not name.startswith("__")}


def dataType(cls: Any, name: str) -> Any:
    """Return the annotation of a member by its dotted name.

    Raises:
        ValueError: there is no such member.
    """
    top, _dot, rest = name.partition(".")
    if top not in getattr(cls, "allParameters", {}):
        raise ValueError(f"Expected one of {list(getattr(cls, 'allParameters', {}))}, got '{top}'")
    annotation = cls.allParameters[top].unalteredType
    return dataType(split(annotation)[0], rest) if rest else annotation


def isParameterPack(value: Any) -> bool:
    """Return whether an object is a pack or the class of one."""
    return getattr(value, "_is_parameterPack", False)


class _Pack:
    """The methods of every pack."""

    _is_parameterPack = True
    allParameters: dict[str, Member]

    def __init__(self, *values: Any, **named: Any) -> None:
        given = dict(zip(self.allParameters, values)) | named
        unknown = [name for name in given if name not in self.allParameters]
        if unknown or len(values) > len(self.allParameters) or len(given) < len(values) + len(named):
            raise TypeError(f"Expected values of {list(self.allParameters)}, got {values} and {named}")
        object.__setattr__(self, "_values", {})
        for name, member in self.allParameters.items():
            self._put(name, given.get(name, member.default))

    def _put(self, name: str, value: Any) -> None:
        self.allParameters[name].serializer.validate(value)
        self._values[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"{type(self).__name__} has no member '{name}'")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no member '{name}'")
        self._put(name, value)
        self._saved()

    def _saved(self) -> None:
        """Hook for packs that are in a parameter node."""

    def getValue(self, name: str) -> Any:
        top, _dot, rest = name.partition(".")
        dataType(type(self), top)
        return self._values[top].getValue(rest) if rest else self._values[top]

    def setValue(self, name: str, value: Any) -> None:
        top, _dot, rest = name.partition(".")
        dataType(type(self), top)
        if rest:
            self._values[top].setValue(rest, value)
            self._saved()
        else:
            setattr(self, top, value)

    def __eq__(self, other: object) -> bool:
        return isParameterPack(other) and self.allParameters is other.allParameters and self._values == other._values


@functools.cache
def _observed(pack: type) -> type:
    """Return the class of a pack whose changes are written into its node."""
    return type(pack.__name__, (pack,), {"_save": None, "_saved": lambda self: self._save() if self._save else None})


def parameterPack(cls: type) -> type:
    """Class decorator: the annotated fields become the members of a pack.

    Raises:
        ValueError: there are no fields, a default is refused, or a name is reserved.
        NotImplementedError: the class has its own constructor.
    """
    found = {name: dataclasses.replace(member, default=member.default.value) for name, member in members(cls).items()}
    if not found:
        raise ValueError(f"Expected annotated fields in {cls.__name__}, got none")
    for member in found.values():
        member.serializer.validate(member.default)
    reserved = [name for name in found if hasattr(_Pack, name)]
    if reserved:
        raise ValueError(f"Cannot use the reserved names {reserved} in a parameterPack")
    if "__init__" in vars(cls):
        raise NotImplementedError("the stand-in has no packs with a constructor of their own")
    names = {"allParameters": found, "__doc__": cls.__doc__, "__module__": cls.__module__}
    return type(cls.__name__, (_Pack,), own(cls) | names)
