"""Qt objects and classes as PythonQt shows them: properties are attributes, and signals have C++ signatures."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import weakref
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import dialogs

_proxies: weakref.WeakValueDictionary[int, Proxy] = weakref.WeakValueDictionary()
_signals: dict[type, list[str]] = {}
_connections: dict[int, list[tuple[str, Any, Any]]] = {}

DIALOGS = ("QMessageBox", "QFileDialog", "QInputDialog", "QColorDialog", "QFontDialog")
"""Classes whose static functions would wait for the user."""

_ACCEPTED = {"QString": str, "bool": int, "int": int, "uint": int, "double": (int, float), "QStringList": (list, tuple)}
"""Type of a property -> types that may be assigned; Qt itself would turn None into an empty text and 3.7 into 4."""


def wrap(value: Any) -> Any:
    """Return the proxy of a QObject, the same one each time; return anything else as it is."""
    if isinstance(value, QtCore.QObject):
        address = shiboken6.getCppPointer(value)[0]
        proxy = _proxies.get(address)
        if proxy is None or not shiboken6.isValid(unwrap(proxy)):
            proxy = _proxies[address] = object.__new__(class_proxy(type(value)))
            object.__setattr__(proxy, "_object", value)
        return proxy
    if type(value) in (list, tuple):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value: Any) -> Any:
    """Return the QObject that a proxy stands for."""
    if isinstance(value, Proxy):
        return object.__getattribute__(value, "_object")
    if isinstance(value, ObjectClass):
        return type.__getattribute__(value, "_qt")
    if isinstance(value, ValueClass):
        return value.cls
    if type(value) in (list, tuple):
        return type(value)(unwrap(item) for item in value)
    return value


def call(function: Any) -> Any:
    """A method that takes and returns proxies. PythonQt has no named arguments."""

    def method(*arguments: Any) -> Any:
        return wrap(function(*(unwrap(argument) for argument in arguments)))

    return method


def flat(cls: type, name: str) -> Any:
    """Return an attribute of a Qt class; the members of its enums are its attributes, as in C++."""
    if cls.__name__ in DIALOGS and inspect.isbuiltin(getattr(cls, name, None)):
        return dialogs.function(cls.__name__, name)
    for owner in cls.__mro__:
        for value in vars(owner).values():
            if isinstance(value, enum.EnumMeta) and name in value.__members__:
                return value[name]
    value = getattr(cls, name)
    return call(value) if callable(value) and not inspect.isclass(value) else value


class ObjectClass(type):
    """A class of QObjects. Calling it returns a proxy, and proxies of its objects are its instances."""

    _qt: type

    def __call__(cls, *arguments: Any) -> Any:
        if "_qt" not in vars(cls):  # a class of Python that derives from one of Qt
            return type.__call__(cls, *arguments)
        return wrap(unwrap(cls)(*unwrap(arguments)))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return flat(unwrap(cls), name)


class ValueClass:
    """Any other Qt class. Calling it returns an object without a proxy."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.__name__ = cls.__name__

    def __call__(self, *arguments: Any) -> Any:
        return wrap(self.cls(*unwrap(arguments)))

    def __getattr__(self, name: str) -> Any:
        return flat(self.cls, name)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self.cls)

    def __mro_entries__(self, bases: tuple) -> tuple:
        return (self.cls,)


@functools.cache
def _derived(cls: type) -> type:
    """Return a Qt class that passes events to the proxies of its objects, which keep the objects alive."""

    class Derived(cls):
        def eventFilter(self, watched: QtCore.QObject, event: QtCore.QEvent) -> bool:
            proxy = self.proxy()
            own = getattr(type(proxy), "eventFilter", None)
            return bool(own(proxy, wrap(watched), event)) if inspect.isfunction(own) else False

    return Derived


@functools.cache
def class_proxy(cls: type) -> Any:
    """Return the class of proxies for a Qt class, the same one each time."""
    if not issubclass(cls, QtCore.QObject):
        return ValueClass(cls)
    bases = tuple(class_proxy(base) for base in cls.__bases__ if issubclass(base, QtCore.QObject)) or (Proxy,)

    def fill(names: dict[str, Any]) -> None:
        names.update(__slots__=(), _qt=cls, __module__="qt")

    return types.new_class(cls.__name__, bases, {"metaclass": ObjectClass}, fill)


class Proxy:
    """A proxy of a QObject. Names that the object does not have are errors."""

    __slots__ = ("_object", "__weakref__")

    def __init__(self, *arguments: Any) -> None:
        """Make the object of a Python class, which may have its own `eventFilter`."""
        made = _derived(unwrap(type(self)))(*unwrap(arguments))
        object.__setattr__(self, "_object", made)
        made.proxy = weakref.ref(self)
        _proxies[shiboken6.getCppPointer(made)[0]] = self

    def __getattr__(self, name: str) -> Any:
        target = unwrap(self)
        name = _renamed(target, name)
        if name.startswith("_"):
            raise AttributeError(name)
        if target.metaObject().indexOfProperty(name) >= 0:
            return wrap(target.property(name))
        signatures = [signal for signal in signals(target) if signal.split("(")[0] == name]
        if signatures:
            return BoundSignal(self, signatures[0])
        if name == "exec_" and hasattr(target, "ask"):  # ctkMessageBox
            return target.ask
        if name in ("exec", "exec_") and isinstance(target, (QtWidgets.QDialog, QtWidgets.QMenu)):
            raise RuntimeError(f"{type(target).__name__}.{name}() would wait for a user; replace it in the test")
        name = name.removesuffix("_") if name == "exec_" else name
        value = getattr(target, name) if hasattr(target, name) else flat(type(target), name)
        return call(value) if callable(value) and not inspect.isclass(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        target = unwrap(self)
        name = _renamed(target, name)
        index = target.metaObject().indexOfProperty(name)
        if index < 0 and "_qt" not in vars(type(self)):  # PythonQt lets objects of derived classes have more
            object.__setattr__(self, name, value)
            return
        if index < 0:
            raise AttributeError(f"{type(target).__name__} has no property '{name}'")
        found = target.metaObject().property(index)
        if not found.isWritable():
            raise AttributeError(f"the property '{name}' of {type(target).__name__} cannot be written")
        accepted = _ACCEPTED.get(found.typeName(), object)
        given = list(value) if isinstance(value, tuple) and accepted == (list, tuple) else unwrap(value)
        if not isinstance(value, accepted) or not target.setProperty(name, given):
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
        """Undo `connect`; return False if the slot was not connected."""
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
    """A signal such as `widget.clicked`, for connecting without a signature, and for emitting by a call.

    If several signals have the same name, it is the one declared first, as in PythonQt.
    """

    def __init__(self, proxy: Proxy, signature: str) -> None:
        self._proxy, self._signature = proxy, signature

    def connect(self, function: Any) -> bool:
        return self._proxy.connect(self._signature, function)

    def disconnect(self, function: Any) -> bool:
        return self._proxy.disconnect(self._signature, function)

    def __call__(self, *arguments: Any) -> None:
        target = unwrap(self._proxy)
        signal = _hidden_signals(target).get(self._signature)
        (signal if signal is not None else getattr(target, self._signature.split("(")[0])).emit(*unwrap(arguments))


def _renamed(target: QtCore.QObject, name: str) -> str:
    """PythonQt shows `objectName` as `name` too."""
    return "objectName" if name == "name" and target.metaObject().indexOfProperty(name) < 0 else name


def signals(target: QtCore.QObject) -> list[str]:
    """Return the signatures of an object's signals."""
    cls = type(target)
    if cls not in _signals:
        meta = target.metaObject()
        methods = [meta.method(index) for index in range(meta.methodCount())]
        kind = QtCore.QMetaMethod.MethodType.Signal
        found = [bytes(method.methodSignature()).decode() for method in methods if method.methodType() == kind]
        _signals[cls] = [signature for signature in found if not signature.startswith("_")] + list(
            getattr(cls, "SIGNALS", {})
        )
    return _signals[cls]


def _hidden_signals(target: QtCore.QObject) -> dict[str, QtCore.SignalInstance]:
    """Return the signals with VTK arguments: signature -> Python signal that replaces it."""
    aliases = getattr(type(target), "SIGNALS", {})
    return {signature: getattr(target, name) for signature, name in aliases.items()}


def _receiver(function: Any) -> Any:
    """Pass a Python function as many arguments as it takes, including those with defaults, as PythonQt does."""
    inner = function.__func__ if inspect.ismethod(function) else function
    limit = None
    if inspect.isfunction(inner) and not inner.__code__.co_flags & inspect.CO_VARARGS:
        limit = inner.__code__.co_argcount - inspect.ismethod(function)

    def receive(*arguments: Any) -> None:
        function(*(wrap(argument) for argument in arguments[:limit]))

    return receive
