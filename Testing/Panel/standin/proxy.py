"""A QObject as PythonQt shows it: properties are attributes, signals are connected by their C++ signature."""

from __future__ import annotations

import enum
import functools
import inspect
import re
import weakref
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import dialogs

_proxies: weakref.WeakValueDictionary[int, Proxy] = weakref.WeakValueDictionary()
_signals: dict[type, list[str]] = {}
_connections: dict[int, list[tuple[str, Any, Any]]] = {}

_DIALOGS = ("QMessageBox", "QFileDialog", "QInputDialog", "QColorDialog", "QFontDialog")
_ACCEPTED = {"QString": str, "bool": int, "int": int, "uint": int, "double": (int, float), "QStringList": (list, tuple)}
"""Types of properties -> what may be assigned; Qt itself would turn None into an empty text and 3.7 into 4."""


def wrap(value: Any) -> Any:
    """A QObject as PythonQt shows it, one proxy for one QObject; anything else as it is."""
    if isinstance(value, QtCore.QObject):
        address = shiboken6.getCppPointer(value)[0]
        proxy = _proxies.get(address)
        if proxy is None or not shiboken6.isValid(unwrap(proxy)):
            proxy = _proxies[address] = Proxy(value)
        return proxy
    if type(value) in (list, tuple):
        return type(value)(wrap(each) for each in value)
    return value


def unwrap(value: Any) -> Any:
    """What a proxy stands for."""
    if type(value) is Proxy:
        return object.__getattribute__(value, "_object")
    if type(value) is ClassProxy:
        return value.cls
    if type(value) in (list, tuple):
        return type(value)(unwrap(each) for each in value)
    return value


def call(function: Any) -> Any:
    """A method that takes and gives proxies. PythonQt knows no named arguments."""

    def method(*arguments: Any) -> Any:
        return wrap(function(*(unwrap(each) for each in arguments)))

    return method


class Proxy:
    """A QObject. Names that it does not have are errors."""

    __slots__ = ("_object", "__weakref__")

    def __init__(self, target: QtCore.QObject) -> None:
        object.__setattr__(self, "_object", target)

    def __getattr__(self, name: str) -> Any:
        target = unwrap(self)
        name = _renamed(target, name)
        if name.startswith("_"):
            raise AttributeError(name)
        if target.metaObject().indexOfProperty(name) >= 0:
            return wrap(target.property(name))
        signatures = [each for each in signals(target) if each.split("(")[0] == name]
        if signatures:
            return BoundSignal(self, signatures)
        if name in ("exec", "exec_") and isinstance(target, (QtWidgets.QDialog, QtWidgets.QMenu)):
            raise RuntimeError(f"{type(target).__name__}.{name}() would wait for a user; replace it in the test")
        value = getattr(target, name.removesuffix("_") if name == "exec_" else name)
        return call(value) if callable(value) and not inspect.isclass(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        target = unwrap(self)
        name = _renamed(target, name)
        index = target.metaObject().indexOfProperty(name)
        if index < 0:
            raise AttributeError(f"{type(target).__name__} has no property '{name}'")
        found = target.metaObject().property(index)
        if not found.isWritable():
            raise AttributeError(f"the property '{name}' of {type(target).__name__} cannot be written")
        accepted = _ACCEPTED.get(found.typeName(), object)
        if not isinstance(value, accepted) or not target.setProperty(name, unwrap(value)):
            raise TypeError(f"{value!r} cannot be '{name}' of {type(target).__name__}, a {found.typeName()}")

    def connect(self, signature: str, function: Any) -> bool:
        """Call a function when the signal with this C++ signature is emitted."""
        target, signature = unwrap(self), self._signal(signature)
        if not callable(function):
            raise TypeError(f"{function!r} cannot be called")
        address = shiboken6.getCppPointer(target)[0]
        if address not in _connections:
            _connections[address] = []
            target.destroyed.connect(functools.partial(_connections.pop, address, None))
        receive = _receiver(function)
        hidden = _hidden_signals(target).get(signature)
        if hidden is None:
            QtCore.QObject.connect(target, QtCore.SIGNAL(signature), receive)
        else:
            hidden.connect(receive)
        _connections[address].append((signature, function, receive))
        return True

    def disconnect(self, signature: str, function: Any) -> bool:
        """Undo `connect`; False when it was not connected."""
        target, signature = unwrap(self), self._signal(signature)
        made = _connections.get(shiboken6.getCppPointer(target)[0], [])
        for index, (connected, known, receive) in enumerate(made):
            if connected == signature and known == function:
                hidden = _hidden_signals(target).get(signature)
                if hidden is None:
                    QtCore.QObject.disconnect(target, QtCore.SIGNAL(signature), receive)
                else:
                    hidden.disconnect(receive)
                del made[index]
                return True
        return False

    def _signal(self, signature: str) -> str:
        target = unwrap(self)
        normal = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
        if normal not in signals(target):
            raise AttributeError(f"{type(target).__name__} has no signal '{signature}'; see {signals(target)}")
        return normal

    def __repr__(self) -> str:
        target = unwrap(self)
        return f"<{type(target).__name__} '{target.objectName()}'>" if shiboken6.isValid(target) else "<deleted>"


class BoundSignal:
    """`widget.clicked`: to connect without a signature where there is one signal of the name, and to emit by a call."""

    def __init__(self, proxy: Proxy, signatures: list[str]) -> None:
        self._proxy, self._signatures = proxy, signatures

    def _only(self) -> str:
        full = [each for each in self._signatures if not any(_shortens(each, other) for other in self._signatures)]
        if len(full) > 1:
            raise AttributeError(f"{self._proxy!r} has several signals of this name: connect one of {full}")
        return full[0]

    def connect(self, function: Any) -> bool:
        return self._proxy.connect(self._only(), function)

    def disconnect(self, function: Any) -> bool:
        return self._proxy.disconnect(self._only(), function)

    def __call__(self, *arguments: Any) -> None:
        target, signature = unwrap(self._proxy), self._only()
        signal = _hidden_signals(target).get(signature)
        (signal if signal is not None else getattr(target, signature.split("(")[0])).emit(*unwrap(arguments))


def _renamed(target: QtCore.QObject, name: str) -> str:
    """PythonQt shows `objectName` as `name` too."""
    return "objectName" if name == "name" and target.metaObject().indexOfProperty(name) < 0 else name


def signals(target: QtCore.QObject) -> list[str]:
    """The signatures of an object's signals."""
    cls = type(target)
    if cls not in _signals:
        meta = target.metaObject()
        methods = [meta.method(index) for index in range(meta.methodCount())]
        kind = QtCore.QMetaMethod.MethodType.Signal
        found = [bytes(each.methodSignature()).decode() for each in methods if each.methodType() == kind]
        _signals[cls] = [each for each in found if not each.startswith("_")] + list(getattr(cls, "SIGNALS", {}))
    return _signals[cls]


def _shortens(short: str, full: str) -> bool:
    """Whether a signal is another one with its default arguments left out, such as clicked() and clicked(bool)."""
    short_arguments, full_arguments = (re.search(r"\((.*)\)", each).group(1) for each in (short, full))
    return short != full and (not short_arguments or full_arguments.startswith(short_arguments + ","))


def _hidden_signals(target: QtCore.QObject) -> dict[str, QtCore.SignalInstance]:
    """Signals with arguments of VTK: signature -> the signal of Python that stands for it."""
    aliases = getattr(type(target), "SIGNALS", {})
    return {signature: getattr(target, name) for signature, name in aliases.items()}


def _receiver(function: Any) -> Any:
    """PythonQt gives a function of Python as many arguments as it takes, those with defaults among them."""
    inner = function.__func__ if inspect.ismethod(function) else function
    limit = None
    if inspect.isfunction(inner) and not inner.__code__.co_flags & inspect.CO_VARARGS:
        limit = inner.__code__.co_argcount - inspect.ismethod(function)

    def receive(*arguments: Any) -> None:
        function(*(wrap(each) for each in arguments[:limit]))

    return receive


def flat(cls: type, name: str) -> Any:
    """An attribute of a class of Qt; the members of its enums are its attributes, as in C++."""
    for owner in cls.__mro__:
        for value in vars(owner).values():
            if isinstance(value, enum.EnumMeta) and name in value.__members__:
                return value[name]
    value = getattr(cls, name)
    return call(value) if callable(value) and not inspect.isclass(value) else value


class ClassProxy:
    """A class of Qt: called, it gives an object; the members of its enums and its static methods are its attributes."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.__name__ = cls.__name__

    def __call__(self, *arguments: Any) -> Any:
        return wrap(self.cls(*unwrap(arguments)))

    def __getattr__(self, name: str) -> Any:
        value = flat(self.cls, name)
        if self.cls.__name__ in _DIALOGS and inspect.isbuiltin(getattr(self.cls, name, None)):
            return dialogs.function(self.cls.__name__, name)
        return value

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(unwrap(instance), self.cls)

    def __mro_entries__(self, bases: tuple) -> tuple:
        raise TypeError(f"the stand-in has no subclasses of {self.cls.__name__}")
