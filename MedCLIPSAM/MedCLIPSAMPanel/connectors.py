"""Connectors of parameters to widgets that Slicer's parameterNodeWrapper does not support."""

from __future__ import annotations

import ctk
import qt
from slicer.parameterNodeWrapper import GuiConnector


class _WidgetConnector(GuiConnector):
    """The base of these. They are not registered with Slicer, which asks those of before a Reload first."""

    @staticmethod
    def canRepresent(widget, datatype) -> bool:
        return False

    @staticmethod
    def create(widget, datatype):
        return None

    def __init__(self, widget) -> None:
        super().__init__()
        self._widget = widget

    def widget(self):
        return self._widget


class PlainTextConnector(_WidgetConnector):
    """Connects a QPlainTextEdit to a text. The cursor stays where it is while the user types."""

    def _connect(self) -> None:
        self._widget.textChanged.connect(self.changed)

    def _disconnect(self) -> None:
        self._widget.textChanged.disconnect(self.changed)

    def read(self) -> str:
        return self._widget.plainText

    def write(self, value: str) -> None:
        if self._widget.plainText != value:
            self._widget.setPlainText(value)


class PathTextConnector(_WidgetConnector):
    """Connects a ctkPathLineEdit to a text. An empty path stays empty, which a pathlib.Path cannot be.

    The widget signals valid paths only, so what the user is typing is not overwritten by the last
    one of these.
    """

    def __init__(self, widget) -> None:
        super().__init__(widget)
        self._path: str | None = None

    def _connect(self) -> None:
        self._widget.currentPathChanged.connect(self.changed)
        self._widget.validInputChanged.connect(self.changed)  # alone when the path is cleared

    def _disconnect(self) -> None:
        self._widget.currentPathChanged.disconnect(self.changed)
        self._widget.validInputChanged.disconnect(self.changed)

    def read(self) -> str:
        self._path = self._widget.currentPath
        return self._path

    def write(self, value: str) -> None:
        if self._path != value:
            self._path = value
            self._widget.currentPath = value


class ItemConnector(_WidgetConnector):
    """Connects a QComboBox to a text that is the data of one of its items, which may be added at any time."""

    def __init__(self, widget) -> None:
        super().__init__(widget)
        self._value = ""

    def _connect(self) -> None:
        self._widget.currentIndexChanged.connect(self.changed)

    def _disconnect(self) -> None:
        self._widget.currentIndexChanged.disconnect(self.changed)

    def read(self) -> str:
        data = self._widget.itemData(self._widget.currentIndex) if self._widget.currentIndex >= 0 else None
        return self._value if data is None else str(data)

    def write(self, value: str) -> None:
        self._value = value
        self._widget.setCurrentIndex(self._widget.findData(value))


def connectorOf(widget):
    """Return a widget's connector where Slicer has none for it, else the widget."""
    for kind, connector in ((qt.QPlainTextEdit, PlainTextConnector), (ctk.ctkPathLineEdit, PathTextConnector)):
        if type(widget) is kind:
            return connector(widget)
    return widget
