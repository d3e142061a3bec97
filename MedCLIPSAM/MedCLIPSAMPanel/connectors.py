"""Connectors of parameters to widgets that Slicer's parameterNodeWrapper does not support."""

from __future__ import annotations

import qt
from slicer.parameterNodeWrapper import GuiConnector


class _WidgetConnector(GuiConnector):
    """Base class of the connectors.

    They are not registered with Slicer, which would use those registered before a Reload first.
    """

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
    """Return a connector for a widget that Slicer has none for; otherwise return the widget."""
    return PlainTextConnector(widget) if type(widget) is qt.QPlainTextEdit else widget
