"""Widgets of CTK: ctkSliderWidget, ctkPathLineEdit; the collapsible button is in a file of its own."""

from __future__ import annotations

import enum
import math

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from . import dialogs


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box with one value."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        self._box.setRange(0, 99)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._rescale()
        self._box.valueChanged.connect(self._changed)
        self._slider.valueChanged.connect(self._moved)

    def _rescale(self) -> None:
        """The slider counts single steps from the minimum."""
        blocked = self._slider.blockSignals(True)
        step = self._box.singleStep() or 1.0
        self._slider.setRange(0, math.ceil((self._box.maximum() - self._box.minimum()) / step))
        self._slider.setValue(round((self._box.value() - self._box.minimum()) / step))
        self._slider.blockSignals(blocked)

    def _changed(self, value: float) -> None:
        self._rescale()
        self.valueChanged.emit(value)

    def _moved(self, count: int) -> None:
        self._box.setValue(self._box.minimum() + count * self._box.singleStep())

    def _set(self, name: str, value: object) -> None:
        getattr(self._box, name)(value)
        self._rescale()

    @Slot(float)
    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    @Slot()
    def reset(self) -> None:
        self._box.setValue(0.0)

    value = Property(float, lambda self: self._box.value(), setValue)
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._set("setMinimum", value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._set("setMaximum", value))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, value: self._set("setSingleStep", value)
    )
    pageStep = Property(
        float, lambda self: float(self._slider.pageStep()), lambda self, value: self._slider.setPageStep(round(value))
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._set("setDecimals", value))
    prefix = Property(str, lambda self: self._box.prefix(), lambda self, text: self._box.setPrefix(text))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))
    tracking = Property(
        bool, lambda self: self._slider.hasTracking(), lambda self, value: self._slider.setTracking(value)
    )
    spinBoxVisible = Property(
        bool, lambda self: not self._box.isHidden(), lambda self, value: self._box.setVisible(value)
    )


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path, with its history and a button to browse."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    class Filter(enum.IntFlag):
        Dirs = 0x001
        Files = 0x002
        Drives = 0x004
        NoSymLinks = 0x008
        Readable = 0x010
        Writable = 0x020
        Executable = 0x040
        Hidden = 0x100
        AllDirs = 0x400
        NoDotAndDotDot = 0x1000
        NoDot = 0x2000
        NoDotDot = 0x4000

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox(editable=True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.setMinimumContentsLength(10)
        self._browse = QtWidgets.QToolButton(text="...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        layout.addWidget(self._browse)
        self._label, self._key, self._names = "", "", []
        self._filters = self.Filter.Dirs | self.Filter.Files | self.Filter.Drives
        self._box.editTextChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    @Slot()
    def browse(self) -> None:
        """Ask for a path; `standin.answers["ctkPathLineEdit.browse"]` is the answer."""
        self.setCurrentPath(dialogs.function("ctkPathLineEdit", "browse")(self._label))

    @Slot()
    def addCurrentPathToHistory(self) -> None:
        if self._box.findText(self._box.currentText()) < 0:
            self._box.insertItem(0, self._box.currentText())

    @Slot()
    def retrieveHistory(self) -> None:
        """The stand-in keeps no history between two widgets."""

    currentPath = Property(str, lambda self: self._box.currentText(), setCurrentPath, user=True)
    label = Property(str, lambda self: self._label, lambda self, text: setattr(self, "_label", text))
    settingKey = Property(str, lambda self: self._key, lambda self, text: setattr(self, "_key", text))
    nameFilters = Property("QStringList", lambda self: self._names, lambda self, names: setattr(self, "_names", names))
    filters = Property(int, lambda self: self._filters, lambda self, value: setattr(self, "_filters", value))
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, shown: self._browse.setVisible(shown)
    )
