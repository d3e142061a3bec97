"""Connectors between a widget and the parameter that it shows and changes.

They imitate Slicer's Base/Python/slicer/parameterNodeWrapper/guiConnectors.py of 5.8: an int can only be connected to a
QSpinBox, and a QLineEdit is written even if its text is the same. No version has a connector of QPlainTextEdit.
Connectors of widgets that the panel does not have are not imitated.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtWidgets

from .ctkwidgets import ctkSliderWidget
from .nodecombobox import qMRMLNodeComboBox
from .parametertypes import WithinRange, split
from .proxy import Proxy, unwrap


class GuiConnector:
    """The base class of connectors, including those of a module."""

    def __init__(self) -> None:
        super().__init__()
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call a function when the user changes the widget; None ends it."""
        self._callback = callback
        self._disconnect() if callback is None else self._connect()

    def changed(self) -> None:
        """Slot for the signal of the widget."""
        if self._callback is not None:
            self._callback()

    def _connect(self) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        raise NotImplementedError

    def read(self) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> None:
        raise NotImplementedError


class _PropertyConnector(GuiConnector):
    """A widget with one property and one signal.

    KINDS: class of the widget -> type of the parameter, property, signal.
    """

    KINDS: dict[type, tuple[Any, str, str]] = {
        QtWidgets.QCheckBox: (bool, "checked", "stateChanged(int)"),
        QtWidgets.QLineEdit: (str, "text", "textChanged(QString)"),
    }

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        return split(datatype)[0] is cls.KINDS.get(type(unwrap(widget)), (None,))[0]

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__()
        self._widget, self._type = widget, split(datatype)[0]
        _type, self._property, self._signal = self.KINDS[type(unwrap(widget))]

    def _connect(self) -> None:
        self._widget.connect(self._signal, self.changed)

    def _disconnect(self) -> None:
        self._widget.disconnect(self._signal, self.changed)

    def read(self) -> Any:
        return self._type(getattr(self._widget, self._property))

    def write(self, value: Any) -> None:
        setattr(self._widget, self._property, value)


class NumberConnector(_PropertyConnector):
    """A connector that passes the parameter's limits to the widget; without any, it removes those of the .ui file."""

    KINDS = {
        QtWidgets.QSpinBox: (int, "value", "valueChanged(int)"),
        QtWidgets.QDoubleSpinBox: (float, "value", "valueChanged(double)"),
        ctkSliderWidget: (float, "value", "valueChanged(double)"),
    }

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        limits = next((note for note in split(datatype)[1] if isinstance(note, WithinRange)), None)
        if limits is None and isinstance(unwrap(widget), ctkSliderWidget):
            raise RuntimeError("Cannot have a connection to a slider where the number is unbounded.")
        lowest, highest = (-(2**31), 2**31 - 1) if self._type is int else (float("-inf"), float("inf"))
        widget.minimum = limits.minimum if limits else lowest
        widget.maximum = limits.maximum if limits else highest


class EnumConnector(_PropertyConnector):
    """A QComboBox of the members of an enum, by their names."""

    KINDS = {QtWidgets.QComboBox: (None, "currentIndex", "currentIndexChanged(int)")}

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        return type(unwrap(widget)) in cls.KINDS and isinstance(split(datatype)[0], enum.EnumMeta)

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.clear()
        for member in self._type:
            widget.addItem(member.name)

    def read(self) -> Any:
        return list(self._type)[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        self._widget.currentIndex = list(self._type).index(value)


class NodeConnector(_PropertyConnector):
    """A node selector, whose classes in the .ui file are replaced by that of the parameter, which must be concrete."""

    KINDS = {qMRMLNodeComboBox: (None, "", "currentNodeChanged(vtkMRMLNode*)")}

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        kind = split(datatype)[0]
        return type(unwrap(widget)) in cls.KINDS and isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.nodeTypes = [self._type().GetClassName()]

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def createGuiConnector(widget: Proxy, datatype: Any) -> GuiConnector:
    """Return the connector for a widget and a type, annotated or not.

    Raises:
        RuntimeError: there is no such connector.
    """
    for cls in (_PropertyConnector, NumberConnector, EnumConnector, NodeConnector):
        if cls.canRepresent(widget, datatype):
            return cls(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")
