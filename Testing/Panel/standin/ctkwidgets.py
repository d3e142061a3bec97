"""CTK widgets: ctkSliderWidget, ctkPathLineEdit and ctkMessageBox. The collapsible button is in its own file.

They imitate CTK's Libs/Widgets/ctkSliderWidget.cpp, ctkPathLineEdit.cpp and ctkMessageBox.cpp.
"""

from __future__ import annotations

import enum
import math

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from . import dialogs


class ctkSettings(QtCore.QSettings):
    """The settings of the application."""


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box with one value."""

    valueChanged = Signal(float)

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
        """Set the slider, which counts single steps from the minimum."""
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

    value = Property(float, lambda self: self._box.value(), setValue)
    minimum = Property(float, lambda self: self._box.minimum(), lambda self, value: self._set("setMinimum", value))
    maximum = Property(float, lambda self: self._box.maximum(), lambda self, value: self._set("setMaximum", value))
    singleStep = Property(
        float, lambda self: self._box.singleStep(), lambda self, value: self._set("setSingleStep", value)
    )
    decimals = Property(int, lambda self: self._box.decimals(), lambda self, value: self._set("setDecimals", value))
    suffix = Property(str, lambda self: self._box.suffix(), lambda self, text: self._box.setSuffix(text))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A line edit for a path, with its history and a Browse button.

    Browse asks for a file if Files is among the filters, for a file to save if Writable is, too, and otherwise for a
    folder.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    class Filter(enum.IntFlag):
        Dirs = 0x001
        Files = 0x002
        Drives = 0x004
        NoSymLinks = 0x008
        AllEntries = 0x007
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
        self._box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._box.setMinimumContentsLength(10)
        self._line = self._box.lineEdit()
        self._browse = QtWidgets.QToolButton(text="...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        layout.addWidget(self._browse)
        self._valid = False
        self._filters = self.Filter.AllEntries | self.Filter.Readable | self.Filter.Executable
        self._line.textChanged.connect(self._changed)
        self._browse.clicked.connect(self.browse)

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def _changed(self, path: str) -> None:
        """Emit the signals of a change; an empty path is only reported as invalid. Name filters are not imitated."""
        before, self._valid = self._valid, bool(path)
        if self._valid:
            self.currentPathChanged.emit(path)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    @Slot()
    def browse(self) -> None:
        """Ask for a path with the Qt dialog that the filters require; see `standin.answers`."""
        name, title = "getExistingDirectory", "Select a directory..."
        if self._filters & self.Filter.Files:
            save = self._filters & self.Filter.Writable
            name, title = ("getSaveFileName", "Select a file to save ") if save else ("getOpenFileName", "Open a file")
        path = dialogs.function("QFileDialog", name)(title)
        if path:
            self.setCurrentPath(path)

    currentPath = Property(str, lambda self: self._line.text(), setCurrentPath, user=True)
    filters = Property(int, lambda self: int(self._filters), lambda self, value: setattr(self, "_filters", value))
    showBrowseButton = Property(
        bool, lambda self: not self._browse.isHidden(), lambda self, shown: self._browse.setVisible(shown)
    )


class ctkMessageBox(QtWidgets.QMessageBox):
    """The message box of `slicer.util`. Messages are kept in `standin.messages` and answered by `standin.answers`."""

    KINDS = {"Critical": "error", "Warning": "warning", "Information": "info", "Question": "confirm"}

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._key = ""

    dontShowAgainSettingsKey = Property(str, lambda self: self._key, lambda self, text: setattr(self, "_key", text))

    def ask(self) -> int:
        """Close the box at once. If there is a choice, press the first button if the answer to "confirm" is yes."""
        kinds = self.StandardButton
        accepting = [kind for kind in (kinds.Ok, kinds.Yes, kinds.Retry) if self.standardButtons() & kind]
        refusing = [kind for kind in (kinds.Cancel, kinds.No, kinds.Close) if self.standardButtons() & kind]
        kind = "confirm" if accepting and refusing else self.KINDS.get(self.icon().name, "info")
        dialogs.messages.append((kind, self.text()))
        return accepting[0] if not refusing or dialogs.answers["confirm"] else refusing[0]
