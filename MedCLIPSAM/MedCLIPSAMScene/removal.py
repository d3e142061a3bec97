"""Remove nodes from the scene together with their display nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import slicer
import slicer.util


def removeNode(node) -> None:
    """Remove a displayable node and its display nodes.

    A display node that stays behind is still drawn in the views.
    """
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    for item in (*displays, node):
        if item is not None and slicer.mrmlScene.IsNodePresent(item):
            slicer.mrmlScene.RemoveNode(item)


@contextmanager
def removedOnError() -> Iterator[None]:
    """Remove the volumes and segmentations that the body added to the scene if it fails."""

    def present() -> list:
        return [
            node for name in ("Volume", "Segmentation") for node in slicer.util.getNodesByClass(f"vtkMRML{name}Node")
        ]

    before = present()
    try:
        yield
    except BaseException:
        for node in present():
            if node not in before:
                removeNode(node)
        raise
