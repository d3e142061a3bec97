"""A stand-in for Slicer's desktop, so that the module's panel runs without it: PySide6 in place of PythonQt.

MRML is real (slicer-core); the widgets of CTK and qMRML are drawn here, with the properties, methods and signals of
the real ones' headers. It is strict: a property, method, signal, enum value or parameter that does not exist is an
error, and so is an exception in a slot or an observer, at the next `pump` or at the end of the test.

    standin.install()
    import MedCLIPSAM
    widget = MedCLIPSAM.MedCLIPSAMWidget(standin.parent()); widget.setup()
    standin.pump(lambda: done, timeout=60)
    standin.screenshot(widget.parent, path)

From the bottom up: proxy (a QObject as PythonQt shows it), qtmodule (`qt`, `ctk`), dialogs, errors; the widgets in
collapsible, ctkwidgets, nodecombobox, segmenteditor, and uifile that loads them; `slicer` in scene, application,
utilities, modules, and parametertypes, parametergui, parameternode.

What it cannot prove: PythonQt's enums are integers, here they are PySide6's; nothing is rendered in the slice views;
and Slicer's own style, fonts and translations are not here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs, errors
from .dialogs import answers, messages
from .errors import check
from .proxy import unwrap, wrap

__all__ = ["answers", "check", "install", "messages", "parent", "pump", "reset", "screenshot", "unwrap", "wrap"]

GRAY = QtGui.QImage.Format.Format_Grayscale8
"""For `screenshot(...).convertToFormat`, to look at what was drawn."""

_started: list[QtWidgets.QApplication] = []

reset = dialogs.reset


def install() -> None:
    """Put `qt` and `ctk` among the modules and complete `slicer`; once a process."""
    if _started:
        return
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standin"])
    app.setStyle("Fusion")
    _started.append(app)
    from . import application, modules, parameternode, qtmodule, uifile, utilities

    errors.install()
    qtmodule.redirect_settings()
    sys.modules["qt"] = qtmodule.QtModule("qt")
    sys.modules["ctk"] = qtmodule.CtkModule(uifile.CTK)
    application.install()
    utilities.install()
    modules.install()
    parameternode.install()


def parent(width: int = 460):
    """A widget with a layout, as Slicer gives one to a module's panel."""
    holder = QtWidgets.QWidget()
    holder.setLayout(QtWidgets.QVBoxLayout())
    holder.resize(width, 1400)
    return wrap(holder)


def pump(until: Callable[[], bool], timeout: float = 60.0) -> None:
    """Let events run until a condition holds.

    Raises:
        TimeoutError: it did not hold in time.
        Exception: the first one that a slot or an observer raised meanwhile.
    """
    end = time.monotonic() + timeout
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(f"not so after {timeout:g} s")
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
        check()
        time.sleep(0.002)
    check()


def screenshot(widget, path: Path | str, width: int | None = None) -> QtGui.QImage:
    """Draw a widget into a PNG file, as high as its contents want.

    Args:
        width: in pixels; the widget's own when None.
    """
    target = unwrap(widget)
    target.show()
    for _pass in range(2):  # hidden and shown parts settle with the first
        height = target.heightForWidth(width or target.width()) if target.hasHeightForWidth() else -1
        target.resize(width or target.width(), max(height, target.sizeHint().height(), 60))
        QtWidgets.QApplication.processEvents()
    image = target.grab().toImage()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(str(path))
    return image
