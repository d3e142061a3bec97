"""Connectors: a widget that shows and changes a parameter.

As in Slicer's Base/Python/slicer/parameterNodeWrapper/guiConnectors.py. Where versions differ it is the oldest one,
5.8: an int goes into a QSpinBox or QSlider only, and a QLineEdit is written also when its text is the same. No version
has a connector of QPlainTextEdit; a module can bring its own by `parameterNodeGuiConnector`.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer
from PySide6 import QtWidgets

from .ctkwidgets import ctkPathLineEdit, ctkSliderWidget
from .nodecombobox import qMRMLNodeComboBox
from .parameterpack import isParameterPack
from .parametertypes import split
from .proxy import Proxy, unwrap
from .validators import Choice, Maximum, Minimum, WithinRange


@dataclasses.dataclass
class Decimals:
    value: int


@dataclasses.dataclass
class SingleStep:
    value: float


class GuiConnector:
    """The base of connectors, also of a module's own."""

    @staticmethod
    def canRepresent(widget: Proxy, datatype: Any) -> bool:
        raise NotImplementedError

    @staticmethod
    def create(widget: Proxy, datatype: Any) -> GuiConnector | None:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call a function when the user changes the widget; None ends it."""
        self._callback = callback
        self._disconnect() if callback is None else self._connect()

    def changed(self) -> None:
        """For the signal of the widget."""
        if self._callback is not None:
            self._callback()

    def _connect(self) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        raise NotImplementedError

    def widget(self) -> Proxy:
        raise NotImplementedError

    def read(self) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> None:
        raise NotImplementedError


_registered: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(cls: type | None = None) -> Any:
    """Class decorator: let `createGuiConnector` know a connector."""
    if cls is None:
        return parameterNodeGuiConnector
    if not issubclass(cls, GuiConnector):
        raise TypeError(f"Expected a GuiConnector, got {cls}")
    _registered.append(cls)
    return cls


def createGuiConnector(widget: Proxy, datatype: Any) -> GuiConnector:
    """The connector of a widget and a type, annotated or not.

    Raises:
        RuntimeError: there is none.
    """
    for cls in _registered:
        if cls.canRepresent(widget, datatype):
            return cls.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'")


def _note(datatype: Any, kind: type) -> Any:
    return next((annotation for annotation in split(datatype)[1] if isinstance(annotation, kind)), None)


class _PropertyConnector(GuiConnector):
    """A widget with one property and one signal.

    KINDS: class of the widget -> types of the parameter, property, signal.
    """

    KINDS: dict[type, tuple[tuple[type, ...], str, str]] = {}

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        return split(datatype)[0] in cls.KINDS.get(type(unwrap(widget)), ((),))[0]

    @classmethod
    def create(cls, widget: Proxy, datatype: Any) -> GuiConnector:
        return cls(widget, datatype)

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__()
        self._widget, self._datatype, self._type = widget, datatype, split(datatype)[0]
        _types, self._property, self._signal = self.KINDS[type(unwrap(widget))]

    def _connect(self) -> None:
        self._widget.connect(self._signal, self.changed)

    def _disconnect(self) -> None:
        self._widget.disconnect(self._signal, self.changed)

    def widget(self) -> Proxy:
        return self._widget

    def read(self) -> Any:
        return self._type(getattr(self._widget, self._property))

    def write(self, value: Any) -> None:
        setattr(self._widget, self._property, value)


@parameterNodeGuiConnector
class CheckConnector(_PropertyConnector):
    KINDS = {
        QtWidgets.QCheckBox: ((bool,), "checked", "stateChanged(int)"),
        QtWidgets.QPushButton: ((bool,), "checked", "toggled(bool)"),
    }

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.checkable = True


@parameterNodeGuiConnector
class TextConnector(_PropertyConnector):
    KINDS = {QtWidgets.QLineEdit: ((str,), "text", "textChanged(QString)")}


@parameterNodeGuiConnector
class PlainTextConnector(_PropertyConnector):
    """The text is set also when it is the same, so that the cursor goes to the beginning while the user types."""

    KINDS = {QtWidgets.QTextEdit: ((str,), "plainText", "textChanged()")}

    def write(self, value: str) -> None:
        self._widget.setPlainText(value)


@parameterNodeGuiConnector
class PathConnector(_PropertyConnector):
    """An empty path is shown as a dot, for that is the text of a pathlib.Path()."""

    KINDS = {ctkPathLineEdit: ((pathlib.Path,), "currentPath", "currentPathChanged(QString)")}

    def write(self, value: pathlib.Path) -> None:
        self._widget.currentPath = str(value)


@parameterNodeGuiConnector
class NumberConnector(_PropertyConnector):
    """The limits of the parameter become those of the widget; without any, those of the .ui file are undone."""

    KINDS = {
        QtWidgets.QSpinBox: ((int,), "value", "valueChanged(int)"),
        QtWidgets.QSlider: ((int,), "value", "valueChanged(int)"),
        QtWidgets.QDoubleSpinBox: ((float,), "value", "valueChanged(double)"),
        ctkSliderWidget: ((float,), "value", "valueChanged(double)"),
    }

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        both, low, high = (_note(datatype, kind) for kind in (WithinRange, Minimum, Maximum))
        slider = isinstance(unwrap(widget), (QtWidgets.QSlider, ctkSliderWidget))
        if slider and not (both or (low and high)):
            raise RuntimeError("Cannot have a connection to a slider where the number is unbounded.")
        for note, name in ((Decimals, "decimals"), (SingleStep, "singleStep")):
            if _note(datatype, note) is not None:
                setattr(widget, name, _note(datatype, note).value)
        lowest, highest = (-(2**31), 2**31 - 1) if self._type is int else (float("-inf"), float("inf"))
        widget.minimum = both.minimum if both else low.minimum if low else lowest
        widget.maximum = both.maximum if both else high.maximum if high else highest


@parameterNodeGuiConnector
class ChoiceConnector(_PropertyConnector):
    """A QComboBox of the values of a Choice; a value that is none of them is an error."""

    KINDS = {QtWidgets.QComboBox: ((int, float, str, bool), "currentIndex", "currentIndexChanged(int)")}

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        choice = _note(datatype, Choice)
        if choice is None:
            raise RuntimeError("A QComboBox requires the Choice annotation to be used.")
        self._fill(list(choice.choices), [str(option) for option in choice.choices])

    def _fill(self, values: list[Any], labels: list[str]) -> None:
        self._values = values
        self._widget.clear()
        for label in labels:
            self._widget.addItem(label)

    def read(self) -> Any:
        return self._values[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


@parameterNodeGuiConnector
class EnumConnector(ChoiceConnector):
    """A QComboBox of the members of an enum, by their label() or name."""

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        return type(unwrap(widget)) is QtWidgets.QComboBox and isinstance(split(datatype)[0], enum.EnumMeta)

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        _PropertyConnector.__init__(self, widget, datatype)
        label = getattr(self._type, "label", lambda member: member.name)
        self._fill(list(self._type), [label(member) for member in self._type])


def nodeClasses(datatype: Any) -> list[type] | None:
    """The classes of a node, or of a union of nodes and None; None of another type."""
    kind = split(datatype)[0]
    options = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else (kind,)
    found = [split(option)[0] for option in options]
    found = [kind for kind in found if len(options) == 1 or kind is not type(None)]
    fits = all(isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) for kind in found)
    return found if fits else None


@parameterNodeGuiConnector
class NodeConnector(_PropertyConnector):
    """A selector: the classes in the .ui file are replaced by those of the parameter, which must be concrete."""

    KINDS = {qMRMLNodeComboBox: ((), "", "currentNodeChanged(vtkMRMLNode*)")}

    @classmethod
    def canRepresent(cls, widget: Proxy, datatype: Any) -> bool:
        return type(unwrap(widget)) is qMRMLNodeComboBox and nodeClasses(datatype) is not None

    def __init__(self, widget: Proxy, datatype: Any) -> None:
        super().__init__(widget, datatype)
        widget.nodeTypes = [cls().GetClassName() for cls in nodeClasses(datatype)]

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


@parameterNodeGuiConnector
class PackConnector(GuiConnector):
    """A whole pack in one widget, by the properties SlicerPackParameterName of its children: not imitated."""

    @staticmethod
    def canRepresent(widget: Proxy, datatype: Any) -> bool:
        if isParameterPack(split(datatype)[0]):
            raise NotImplementedError("the stand-in connects the members of packs, such as 'pack.member', not packs")
        return False
