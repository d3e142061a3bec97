"""Qt as PythonQt shows it: properties are attributes, signals are connected by their signature, enums are flat."""

from __future__ import annotations

import enum
import inspect
import tempfile
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_MODULES = (QtCore, QtGui, QtWidgets)


def wrap(value: Any) -> Any:
    """A QObject as PythonQt shows it; anything else as it is."""
    if isinstance(value, QtCore.QObject):
        proxy = value.__dict__.get("_proxy") if hasattr(value, "__dict__") else None
        if proxy is None:
            proxy = Proxy(value)
            value._proxy = proxy
        return proxy
    if isinstance(value, (list, tuple)):
        return type(value)(wrap(each) for each in value)
    return value


def unwrap(value: Any) -> Any:
    """What a proxy stands for."""
    if isinstance(value, Proxy):
        return object.__getattribute__(value, "_object")
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(each) for each in value)
    return value


class Proxy:
    """A QObject."""

    def __init__(self, target: QtCore.QObject) -> None:
        object.__setattr__(self, "_object", target)

    def __getattr__(self, name: str) -> Any:
        target = unwrap(self)
        meta = target.metaObject()
        if meta.indexOfProperty(name) >= 0:
            return wrap(target.property(name))
        value = getattr(target, name)  # AttributeError when there is none
        if isinstance(value, QtCore.SignalInstance):
            return value
        if callable(value):
            return _call(value)
        return _flat(type(target), name) if isinstance(value, enum.EnumMeta) else value

    def __setattr__(self, name: str, value: Any) -> None:
        target = unwrap(self)
        index = target.metaObject().indexOfProperty(name)
        if index < 0:
            raise AttributeError(f"{type(target).__name__} has no property '{name}'")
        if not target.metaObject().property(index).isWritable():
            raise AttributeError(f"the property '{name}' of {type(target).__name__} cannot be written")
        if not target.setProperty(name, unwrap(value)):
            raise TypeError(f"{value!r} cannot be the property '{name}' of {type(target).__name__}")

    def connect(self, signature: str, function: Any) -> bool:
        """Connect a signal given by its C++ signature."""
        self._signal(signature).connect(function)
        return True

    def disconnect(self, signature: str, function: Any) -> bool:
        """Undo `connect`."""
        self._signal(signature).disconnect(function)
        return True

    def _signal(self, signature: str) -> QtCore.SignalInstance:
        target = unwrap(self)
        aliases = getattr(type(target), "SIGNALS", {})
        if signature in aliases:
            return getattr(target, aliases[signature])
        normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
        if target.metaObject().indexOfSignal(normal) < 0:
            raise AttributeError(f"{type(target).__name__} has no signal '{signature}'")
        return getattr(target, signature.split("(")[0])

    def __repr__(self) -> str:
        return f"<{type(unwrap(self)).__name__} '{unwrap(self).objectName()}'>"

    def __eq__(self, other: Any) -> bool:
        return unwrap(self) is unwrap(other)

    def __hash__(self) -> int:
        return id(unwrap(self))


class ClassProxy:
    """A class of Qt: called it gives an object; its enum values are its attributes, without the enum's name."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return wrap(self.cls(*unwrap(arguments), **named))

    def __getattr__(self, name: str) -> Any:
        return _flat(self.cls, name)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(unwrap(instance), self.cls)


class QtModule(types.ModuleType):
    """The module `qt`."""

    def __init__(self) -> None:
        super().__init__("qt")

    def __getattr__(self, name: str) -> Any:
        for module in _MODULES:
            if hasattr(module, name):
                value = getattr(module, name)
                return ClassProxy(value) if inspect.isclass(value) else value
        raise AttributeError(f"Qt has no '{name}'")


def redirect_settings() -> None:
    """Settings go to a folder of this process, never to the user's."""
    settings = QtCore.QSettings
    QtCore.QCoreApplication.setOrganizationName("standin")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    settings.setDefaultFormat(settings.Format.IniFormat)
    settings.setPath(settings.Format.IniFormat, settings.Scope.UserScope, tempfile.mkdtemp(prefix="standin-"))


def _flat(cls: type, name: str) -> Any:
    for owner in cls.__mro__:
        for value in vars(owner).values():
            if isinstance(value, enum.EnumMeta) and name in value.__members__:
                return value[name]
    value = getattr(cls, name)
    return _call(value) if callable(value) and not inspect.isclass(value) else value


def _call(function: Any) -> Any:
    return lambda *arguments, **named: wrap(function(*(unwrap(each) for each in arguments), **named))
