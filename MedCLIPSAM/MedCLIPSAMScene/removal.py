"""Remove nodes from the scene together with their display nodes."""

from __future__ import annotations

import slicer


def removeNode(node) -> None:
    """Remove a displayable node and its display nodes.

    A display node that stays behind is still drawn in the views.
    """
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    for item in (*displays, node):
        if item is not None and slicer.mrmlScene.IsNodePresent(item):
            slicer.mrmlScene.RemoveNode(item)
