"""A stand-in for Slicer's desktop, so that the module's panel runs without it: PySide6 replaces PythonQt.

MRML is real (slicer-core). The widgets of CTK and qMRML are imitated, with the properties, methods and signals in the
headers of the real ones. The stand-in is strict: a property, method, signal, enum value or parameter that does not
exist is an error. So is an exception in a slot or an observer, at the next `pump` or at the end of the test.

    standin.install()
    module = standin.load_module(path)  # as Slicer does at its start
    slicer.util.selectModule(module.name)
    widget = slicer.modules.MedCLIPSAMWidget
    standin.pump(lambda: done, timeout=60)
    standin.screenshot(widget.parent, path)

In Slicer's Python layer, `slicer.util` is real (slicer-core contains it). With SLICER_SOURCE the rest is real, too;
otherwise the rest is imitated as in Slicer 5.8, which allows the least.

From the bottom up: proxy (objects and classes of Qt as PythonQt shows them), qtmodule (`qt`, `ctk`), dialogs, errors,
observations; the widgets in collapsible, ctkwidgets, qmrmlwidget, nodecombobox, segmenteditor with editorlook,
editoreffects, segmenteffects and scriptedeffects, and uifile that loads them; `slicer` in scene, application,
mainwindow, scriptedmodule, mouse, utilities; the imitated Python in modules, language, parametertypes, parametergui,
parameternode; slicersource replaces the imitated Python.

Limits: PythonQt's enums are integers, here they are PySide6's; nothing is rendered in the slice views; and Slicer's
own style, fonts and translations are missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from . import dialogs, errors, mouse, slicersource
from .dialogs import answers, messages
from .errors import check
from .language import translations
from .mainwindow import without_main_window
from .proxy import unwrap, wrap
from .scriptedmodule import load_module

__all__ = ["SLICERS_PYTHON", "answers", "check", "install", "load_module", "messages", "mouse", "pump"]
__all__ += ["reset", "screenshot", "translations", "unwrap", "without_main_window", "wrap"]

GRAY = QtGui.QImage.Format.Format_Grayscale8
"""For `screenshot(...).convertToFormat`, to look at what was drawn."""

SLICERS_PYTHON = slicersource.tree() is not None
"""Whether Slicer's own Python layer is used instead of its imitation."""

_started: list[QtWidgets.QApplication] = []


def reset() -> None:
    """Forget messages, answers and translations."""
    dialogs.reset()
    translations.clear()


def install() -> None:
    """Add `qt` and `ctk` to the modules and complete `slicer`, once per process."""
    if _started:
        return
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["standin"])
    app.setStyle("Fusion")
    _started.append(app)
    from . import application, mainwindow, qtmodule, scriptedeffects, uifile, utilities

    source = slicersource.tree()
    errors.install()
    qtmodule.redirect_settings()
    sys.modules["qt"] = qtmodule.QtModule((uifile.QUiLoader,))
    sys.modules["ctk"] = qtmodule.CtkModule(uifile.CTK, uifile.CTK_NAMES)
    if source is not None:
        slicersource.begin(source)
    running = application.install(slicersource.version(source))
    mainwindow.install(running.moduleManager())
    utilities.install()
    scriptedeffects.install(source is None)
    if source is not None:
        slicersource.finish(source)
        utilities.install_packaging()
        return
    from . import modules, parameternode

    modules.install()
    parameternode.install()


def pump(until: Callable[[], bool], timeout: float = 60.0) -> None:
    """Process events until a condition holds.

    Raises:
        TimeoutError: the condition did not hold in time.
        Exception: the first exception that a slot or an observer raised meanwhile.
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
    """Draw a widget into a PNG file, at the height of its contents.

    Args:
        width: in pixels; by default the widget's own.
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
