"""The modules `qt` and `ctk`: classes whose objects are proxies and whose enums are flat."""

from __future__ import annotations

import atexit
import inspect
import shutil
import tempfile
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .proxy import call, class_proxy

_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools)


class QtModule(types.ModuleType):
    """The module `qt`, with what both PySide6 and the C++ library have.

    Args:
        replaced: classes that replace those of the same names.
    """

    def __init__(self, replaced: tuple[type, ...]) -> None:
        super().__init__("qt")
        for cls in replaced:
            setattr(self, cls.__name__, class_proxy(cls))

    def __getattr__(self, name: str) -> Any:
        if name[:1] in "Qq":
            for module in _MODULES:
                if hasattr(module, name):
                    value = getattr(module, name)
                    return class_proxy(value) if inspect.isclass(value) else call(value)
        raise AttributeError(f"Qt has no '{name}'")


class Absent(types.ModuleType):
    """Make an empty module that can be imported."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in has no {self.__name__}.{name}")


class NotImitated(type):
    """The metaclass of classes that only have a name; making an object of one is an error."""

    def __call__(cls, *arguments: Any) -> Any:
        raise NotImplementedError(f"the stand-in has no {cls.__name__}")


class CtkModule(types.ModuleType):
    """The module `ctk`.

    Args:
        classes: classes that are imitated.
        names: names of classes that are not imitated, but that Slicer's Python compares the type of a widget with.
    """

    def __init__(self, classes: tuple[type, ...], names: tuple[str, ...]) -> None:
        super().__init__("ctk")
        for cls in classes:
            setattr(self, cls.__name__, class_proxy(cls))
        for name in names:
            setattr(self, name, NotImitated(name, (), {}))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the stand-in of ctk has no '{name}'")


def redirect_settings() -> None:
    """Store settings in a folder of this process, never in the user's."""
    folder = tempfile.mkdtemp(prefix="standin-settings-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = QtCore.QSettings
    QtCore.QCoreApplication.setOrganizationName("standin")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    settings.setDefaultFormat(settings.Format.IniFormat)
    for kind in (settings.Format.IniFormat, settings.Format.NativeFormat):
        for scope in (settings.Scope.UserScope, settings.Scope.SystemScope):
            settings.setPath(kind, scope, folder)
