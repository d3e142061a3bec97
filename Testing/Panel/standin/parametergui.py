"""A widget that shows and changes a parameter."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

from PySide6 import QtWidgets

from .ctkwidgets import ctkPathLineEdit, ctkSliderWidget
from .nodecombobox import qMRMLNodeComboBox
from .parametertypes import Choice, Decimals, Maximum, Minimum, Parameter, SingleStep, WithinRange
from .proxy import Proxy, unwrap

_KINDS = {
    QtWidgets.QCheckBox: (bool, "checked", "toggled(bool)"),
    QtWidgets.QPushButton: (bool, "checked", "toggled(bool)"),
    QtWidgets.QSpinBox: (int, "value", "valueChanged(int)"),
    QtWidgets.QSlider: (int, "value", "valueChanged(int)"),
    QtWidgets.QDoubleSpinBox: (float, "value", "valueChanged(double)"),
    ctkSliderWidget: (float, "value", "valueChanged(double)"),
    QtWidgets.QLineEdit: (str, "text", "textChanged(QString)"),
    QtWidgets.QTextEdit: (str, "plainText", "textChanged()"),
    QtWidgets.QPlainTextEdit: (str, "plainText", "textChanged()"),
    ctkPathLineEdit: (pathlib.Path, "currentPath", "currentPathChanged(QString)"),
    QtWidgets.QComboBox: (None, "currentIndex", "currentIndexChanged(int)"),
    qMRMLNodeComboBox: (None, None, "currentNodeChanged(vtkMRMLNode*)"),
}
"""Class of the widget -> type of the parameter that it can hold, its property and its signal."""


class Connector:
    """Values between one widget and its parameter.

    Raises:
        RuntimeError: the widget cannot hold the parameter, as Slicer has it too: a ctkSliderWidget wants limits, a
            QComboBox wants a Choice or an enum, a ctkPathLineEdit a pathlib.Path.
    """

    def __init__(self, widget: Proxy, parameter: Parameter) -> None:
        self._widget, self._parameter, self._changed = widget, parameter, None
        self._class = type(unwrap(widget))
        kind, self._property, self._signal = _KINDS.get(self._class, ("none", None, None))
        self._values: list[Any] | None = None
        if self._class is QtWidgets.QComboBox:
            self._fill(parameter)
        elif self._class is qMRMLNodeComboBox and parameter.is_node:
            widget.nodeTypes = [parameter.type.__name__]
        elif kind is not parameter.type:
            self._refuse()
        if kind in (int, float):
            self._limit()

    def _refuse(self, why: str = "") -> None:
        parameter = self._parameter
        raise RuntimeError(
            f"Unable to connect '{parameter.name}' of {parameter.annotation} to a {self._class.__name__}. {why}"
        )

    def _fill(self, parameter: Parameter) -> None:
        choice = parameter.note(Choice)
        if isinstance(parameter.type, type) and issubclass(parameter.type, enum.Enum):
            self._values = list(parameter.type)
            labels = [each.label() if hasattr(each, "label") else each.name for each in self._values]
        elif choice is not None and parameter.type in (int, float, str, bool):
            self._values = list(choice.choices)
            labels = [str(each) for each in self._values]
        else:
            self._refuse("A QComboBox wants a Choice or an enum.")
        self._widget.clear()
        self._widget.addItems(labels)

    def _limit(self) -> None:
        """The limits of the parameter become those of the widget; without any, those of the .ui file are undone."""
        both, low, high = (self._parameter.note(kind) for kind in (WithinRange, Minimum, Maximum))
        if self._class in (ctkSliderWidget, QtWidgets.QSlider) and not (both or (low and high)):
            self._refuse("A slider wants limits, such as WithinRange.")
        for note, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            if self._parameter.note(note) is not None:
                setattr(self._widget, name, self._parameter.note(note).value)
        whole = self._parameter.type is int
        lowest, highest = (-(2**31), 2**31 - 1) if whole else (float("-inf"), float("inf"))
        self._widget.minimum = both.minimum if both else low.minimum if low else lowest
        self._widget.maximum = both.maximum if both else high.maximum if high else highest

    def connect(self, changed: Callable[[], None]) -> None:
        """Call a function when the user changes the widget."""
        self._changed = lambda *_arguments: changed()
        self._widget.connect(self._signal, self._changed)

    def disconnect(self) -> None:
        self._widget.disconnect(self._signal, self._changed)

    def read(self) -> Any:
        """The value that the widget shows."""
        if self._class is qMRMLNodeComboBox:
            return self._widget.currentNode()
        value = getattr(self._widget, self._property)
        if self._values is not None:
            return self._values[value]
        return self._parameter.type(value)

    def write(self, value: Any) -> None:
        """Show a value."""
        if self._class is qMRMLNodeComboBox:
            self._widget.setCurrentNode(value)
            return
        if self._values is not None:
            value = self._values.index(value)
        if self._parameter.type is pathlib.Path:
            value = str(value)
        if getattr(self._widget, self._property) != value:
            setattr(self._widget, self._property, value)
