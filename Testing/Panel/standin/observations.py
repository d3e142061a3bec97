"""A widget's observers of MRML nodes, which are removed with the widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore


class Observations:
    """Observers by their purpose.

    Args:
        owner: the observers are removed when it is destroyed.
    """

    def __init__(self, owner: QtCore.QObject) -> None:
        self._tags: dict[str, list[tuple[Any, int]]] = {}
        owner.destroyed.connect(self.clear)

    def set(self, what: str, node: Any, *events: tuple[Any, Callable]) -> None:
        """Observe a node instead of the previous one.

        Args:
            events: event and callback, and the priority if it is not 0.
        """
        self.remove(what)
        if node is not None:
            self._tags[what] = [(node, node.AddObserver(*event)) for event in events]

    def remove(self, what: str) -> None:
        for node, tag in self._tags.pop(what, []):
            node.RemoveObserver(tag)

    def node(self, what: str) -> Any:
        """Return the observed node, or None."""
        return self._tags[what][0][0] if what in self._tags else None

    def names(self) -> list[str]:
        return list(self._tags)

    def clear(self) -> None:
        for what in self.names():
            self.remove(what)
