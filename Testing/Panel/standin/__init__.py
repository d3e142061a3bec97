"""A stand-in for Slicer's desktop, so that the module's panel runs without it: PySide6 in place of PythonQt.

MRML is real (slicer-core); the widgets of CTK and qMRML are drawn here with the properties and signals that the panel
uses. It is strict: a property, method, signal, enum value or parameter that does not exist is an error.

    standin.install()
    import MedCLIPSAM
    widget = MedCLIPSAM.MedCLIPSAMWidget(standin.parent()); widget.setup()
    standin.pump(lambda: done, timeout=60)
    standin.screenshot(widget.parent, path)

What it cannot prove is in Testing/README.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from . import application, modules, parameternode, pythonqt, widgets
from .application import answers, messages
from .pythonqt import unwrap, wrap

__all__ = ["answers", "install", "messages", "parent", "pump", "screenshot", "unwrap", "wrap"]

_started: list = []


def install() -> None:
    """Put `qt` and `ctk` among the modules and complete `slicer`; once a process."""
    if _started:
        return
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standin"])
    app.setStyle("Fusion")
    _started.append(app)
    pythonqt.redirect_settings()
    sys.modules["qt"] = pythonqt.QtModule()
    sys.modules["ctk"] = widgets.CtkModule()
    application.install()
    modules.install()
    parameternode.install()


def parent(width: int = 460):
    """A widget with a layout, as Slicer gives one to a module's panel."""
    holder = QtWidgets.QWidget()
    holder.setLayout(QtWidgets.QVBoxLayout())
    holder.resize(width, 1400)
    return wrap(holder)


def pump(until: Callable[[], bool], timeout: float = 60.0) -> None:
    """Let events run until a condition holds; TimeoutError when it does not in time."""
    end = time.monotonic() + timeout
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {timeout:g} s")
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.002)


def screenshot(widget, path: Path) -> QtGui.QImage:
    """Draw a widget into a PNG file, as high as its contents want."""
    target = unwrap(widget)
    target.show()
    target.resize(target.width(), max(target.sizeHint().height(), 60))
    QtWidgets.QApplication.processEvents()
    target.resize(target.width(), max(target.sizeHint().height(), 60))
    QtWidgets.QApplication.processEvents()
    image = target.grab().toImage()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(str(path))
    return image
