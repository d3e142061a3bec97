"""Undo of whole results. Each segmentation has its own history, as in the Segment Editor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import slicer

STATES = 10
"""Maximum number of results that can be undone."""


class History(Protocol):
    """A store of the states of segmentations before they are changed."""

    def save(self, segmentationNode) -> None:
        """Store the current state."""

    def undo(self, segmentationNode) -> bool:
        """Restore the state stored last; return False if there is none."""


class SceneHistory:
    """A history for scripts. The panel uses that of its Segment Editor, so that both undo the same sequence."""

    def __init__(self) -> None:
        self._histories: dict[str, Any] = {}

    def save(self, segmentationNode) -> None:
        """See `History`. The states of segmentations that were removed from the scene are dropped."""
        scene = slicer.mrmlScene
        self._histories = {name: history for name, history in self._histories.items() if scene.GetNodeByID(name)}
        segmentation = segmentationNode.GetSegmentation()
        history = self._histories.get(segmentationNode.GetID())
        if history is None or history.GetSegmentation() is not segmentation:
            history = slicer.vtkSegmentationHistory()
            history.SetSegmentation(segmentation)
            history.SetMaximumNumberOfStates(STATES)
            self._histories[segmentationNode.GetID()] = history
        history.SaveState()

    def undo(self, segmentationNode) -> bool:
        """See `History`."""
        history = self._histories.get(segmentationNode.GetID())
        return bool(history and history.IsRestorePreviousStateAvailable() and history.RestorePreviousState())


@contextmanager
def changesOf(segmentationNode) -> Iterator[list[bool]]:
    """Collect the changes of segments by which vtkSegmentationHistory notices that the saved state is outdated.

    Without such a change, undo would restore the state before the one saved last.
    """
    changed: list[bool] = []
    segmentation, events = segmentationNode.GetSegmentation(), slicer.vtkSegmentation
    tags = [
        segmentation.AddObserver(event, lambda *_arguments: changed.append(True))
        for event in (
            events.SegmentAdded,
            events.SegmentRemoved,
            events.SegmentModified,
            events.SourceRepresentationModified,
        )
    ]
    try:
        yield changed
    finally:
        for tag in tags:
            segmentation.RemoveObserver(tag)
