"""Observers of nodes that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any


class Observed:
    """A set of observed nodes that can be replaced.

    It keeps no reference to earlier nodes, whereas Slicer's VTKObservationMixin keeps all that it ever observed.

    Args:
        events: VTK events that call `changed`.
    """

    def __init__(self, events: Sequence[Any], changed: Callable[..., None]) -> None:
        self._events, self._changed = events, changed
        self._tags: list[tuple[Any, list[int]]] = []

    def follow(self, nodes: Iterable[Any]) -> None:
        """Observe these nodes instead of the previous ones."""
        wanted = list(nodes)
        for node, tags in self._tags:
            if node not in wanted:
                for tag in tags:
                    node.RemoveObserver(tag)
        self._tags = [(node, tags) for node, tags in self._tags if node in wanted]
        present = [node for node, _tags in self._tags]
        for node in wanted:
            if node not in present:
                self._tags.append((node, [node.AddObserver(event, self._changed) for event in self._events]))
