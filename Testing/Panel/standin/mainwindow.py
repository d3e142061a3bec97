"""The main window. Only with it there are a layout manager, slice views and a module selector.

It imitates Slicer's Base/QTApp/qSlicerMainWindow.cxx, which makes the layout manager, and
qSlicerModuleSelectorToolBar.cxx.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from . import scene

OTHERS = ("Welcome", "Data", "SampleData", "SegmentEditor", "Transforms", "VolumeRendering")
"""Modules that can be selected, but are not imitated."""


class ModuleSelector(QtCore.QObject):
    """The module selector, which calls exit() of the previous panel before enter() of the next."""

    moduleSelected = Signal(str)

    def __init__(self, manager: Any, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._manager, self._selected = manager, "Welcome"

    @Slot(str)
    def selectModule(self, name: str) -> None:
        if name not in (*OTHERS, *self._manager.modulesNames()):
            raise ValueError(f"Slicer has no module '{name}', or the stand-in does not know it")
        if name == self._selected:
            return
        for module, act in ((self._selected, "exit"), (name, "enter")):
            found = self._manager.module(module)
            if hasattr(found, "widgetRepresentation"):
                getattr(found.widgetRepresentation(), act)()
        self._selected = name
        self.moduleSelected.emit(name)

    selectedModule = Property(str, lambda self: self._selected)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The window, which is not shown and contains no panels."""

    def __init__(self, manager: Any) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = ModuleSelector(manager, self)

    def moduleSelector(self) -> ModuleSelector:
        return self._selector


_window: list[qSlicerMainWindow] = []


def install(manager: Any) -> None:
    """Open the window."""
    _window.append(qSlicerMainWindow(manager))


@contextlib.contextmanager
def without_main_window() -> Iterator[None]:
    """Run without a window and views, as Slicer does with --no-main-window and in the generic tests of modules."""
    window, layouts = _window[0], slicer.app.layoutManager()
    window.setObjectName("")
    slicer.app.setLayoutManager(None)
    scene.show_views(False)
    try:
        yield
    finally:
        window.setObjectName("qSlicerMainWindow")
        slicer.app.setLayoutManager(layouts)
        scene.show_views(True)
