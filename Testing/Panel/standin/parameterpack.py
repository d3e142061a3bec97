"""`parameterPack`: parameters of a kind in one object, which may be a parameter or a part of another pack.

As in Slicer's Base/Python/slicer/parameterNodeWrapper/parameterPack.py, the same in 5.8 to 5.12.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Callable
from typing import Any

from . import parametertypes
from .parametertypes import Serializer, split
from .validators import Default, IsInstance, NotNone, Validator


@dataclasses.dataclass(frozen=True)
class Member:
    """A field of a pack or of a wrapped class."""

    basename: str
    serializer: Serializer
    default: Any
    unalteredType: Any


def members(cls: type) -> dict[str, Member]:
    """The annotated fields of a class.

    Raises:
        TypeError: one of them cannot be a parameter.
    """
    hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]), include_extras=True)
    found = {}
    for name, hint in hints.items():
        kept, rest = parametertypes.serializer(hint)
        if hasattr(cls, name):
            default = Default(getattr(cls, name))
        else:
            default = next((annotation for annotation in rest if isinstance(annotation, Default)), None) or Default(
                kept.default()
            )
        found[name] = Member(name, kept, default, hint)
    return found


def isParameterPack(value: Any) -> bool:
    """Whether this is a pack or the class of one."""
    return getattr(value, "_is_parameterPack", False)


def nestedParameterNames(pack: Any) -> list[str]:
    """The dotted names of what is in a pack and in the packs in it."""
    names = []
    for name, member in (pack if isParameterPack(pack) else split(pack)[0]).allParameters.items():
        kind = split(member.unalteredType)[0]
        names += [f"{name}.{key}" for key in nestedParameterNames(kind)] if isParameterPack(kind) else [name]
    return names


def dataType(cls: Any, name: str) -> Any:
    """The annotation of a member by its dotted name.

    Raises:
        ValueError: there is none of the name.
    """
    top, _dot, rest = name.partition(".")
    if top not in getattr(cls, "allParameters", {}):
        raise ValueError(f"Expected one of {list(getattr(cls, 'allParameters', {}))}, got '{top}'")
    annotation = cls.allParameters[top].unalteredType
    return dataType(split(annotation)[0], rest) if rest else annotation


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
        """For packs that are in a parameter node."""

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

    @classmethod
    def dataType(cls, name: str) -> Any:
        return dataType(cls, name)

    def __eq__(self, other: object) -> bool:
        return isParameterPack(other) and self.allParameters is other.allParameters and self._values == other._values

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"


class PackSerializer(Serializer):
    """A pack: each member in name.member. What is read writes itself when a member changes."""

    def default(self) -> Any:
        return self.type()

    def isIn(self, node: Any, name: str) -> bool:
        first = next(iter(self.type.allParameters.values()))
        return first.serializer.isIn(node, f"{name}.{first.basename}")

    def remove(self, node: Any, name: str) -> None:
        for member in self.type.allParameters.values():
            member.serializer.remove(node, f"{name}.{member.basename}")

    def _write(self, node: Any, name: str, value: Any) -> None:
        for key, member in self.type.allParameters.items():
            member.serializer.write(node, f"{name}.{key}", value._values[key])

    def read(self, node: Any, name: str) -> Any:
        made = observed(self.type)(
            **{key: member.serializer.read(node, f"{name}.{key}") for key, member in self.type.allParameters.items()}
        )
        object.__setattr__(made, "_save", lambda: self.write(node, name, made))
        return made


@functools.cache
def observed(pack: type) -> type:
    """The class of a pack whose changes are written into its node."""
    return type(pack.__name__, (pack,), {"_save": None, "_saved": lambda self: self._save() if self._save else None})


def _maker(kind: Any, validators: list[Validator]) -> Serializer | None:
    if not isParameterPack(kind):
        return None
    return PackSerializer(kind, [NotNone(), IsInstance(kind), *validators])


parametertypes.makers.append(_maker)


def own(cls: type) -> dict[str, Callable]:
    """What a class defines beside its fields."""
    return {name: value for name, value in vars(cls).items() if callable(value) or isinstance(value, property)}


def parameterPack(cls: type | None = None) -> Any:
    """Class decorator: the annotated fields become the members of a pack.

    Raises:
        ValueError: there are none, a default is refused, or a name is reserved.
        NotImplementedError: the class has a constructor of its own.
    """
    if cls is None:
        return parameterPack
    # In a pack a default is the value itself, in a wrapped class it is a Default.
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
    kept = {name: value for name, value in own(cls).items() if not name.startswith("__")}
    return type(cls.__name__, (_Pack,), kept | names)
