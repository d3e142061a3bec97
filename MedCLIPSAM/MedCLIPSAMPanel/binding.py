"""Widgets and parameters kept equal, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Bindings:
    """Pairs of a widget and a parameter.

    Args:
        parameters: gives the present parameter node, or None between two scenes.
    """

    def __init__(self, parameters: Callable[[], Any]) -> None:
        self._parameters = parameters
        self._toWidgets: list[Callable[[Any], None]] = []
        self._updating = False

    def property(self, widget, property: str, signal: str, name: str) -> None:
        """A Qt property, such as `value` with "valueChanged(int)"."""

        def toWidget(parameters) -> None:
            value = getattr(parameters, name)
            if getattr(widget, property) != value:
                setattr(widget, property, value)

        self._add(toWidget, widget, signal, lambda: getattr(widget, property), name)

    def properties(self, *rows: tuple) -> None:
        """Several of them: (widget, property, signal, name) each."""
        for row in rows:
            self.property(*row)

    def text(self, widget, name: str) -> None:
        """A QPlainTextEdit; the cursor stays where it is while the user types."""

        def toWidget(parameters) -> None:
            if widget.plainText != getattr(parameters, name):
                widget.setPlainText(getattr(parameters, name))

        self._add(toWidget, widget, "textChanged()", lambda: widget.plainText, name)

    def choice(self, widget, values: Sequence[str], name: str) -> None:
        """A QComboBox whose entries stand for `values`, in their order; an unknown value shows nothing."""

        def toWidget(parameters) -> None:
            value = getattr(parameters, name)
            widget.setCurrentIndex(values.index(value) if value in values else -1)

        def fromWidget() -> str:
            index = widget.currentIndex
            return values[index] if index >= 0 else getattr(self._parameters(), name)

        self._add(toWidget, widget, "currentIndexChanged(int)", fromWidget, name)

    def node(self, selector, name: str) -> None:
        """A qMRMLNodeComboBox."""

        def toWidget(parameters) -> None:
            if selector.currentNode() is not getattr(parameters, name):
                selector.setCurrentNode(getattr(parameters, name))

        self._add(toWidget, selector, "currentNodeChanged(vtkMRMLNode*)", selector.currentNode, name)

    def update(self) -> None:
        """Show the parameters in the widgets."""
        parameters = self._parameters()
        if parameters is None or self._updating:
            return
        self._updating = True
        try:
            for toWidget in self._toWidgets:
                toWidget(parameters)
        finally:
            self._updating = False

    def _add(self, toWidget, widget, signal: str, fromWidget: Callable[[], Any], name: str) -> None:
        def changed(*_arguments) -> None:
            parameters = self._parameters()
            if parameters is not None and not self._updating:
                setattr(parameters, name, fromWidget())

        self._toWidgets.append(toWidget)
        widget.connect(signal, changed)
