"""Undo of whole results. One history for each segmentation, as the Segment Editor has it."""

from __future__ import annotations

from typing import Any, Protocol

import slicer

STATES = 10
"""Results that can be taken back."""


class History(Protocol):
    """Where states of segmentations are kept before they are changed."""

    def save(self, segmentationNode) -> None:
        """Keep the present state."""

    def undo(self, segmentationNode) -> bool:
        """Go back to the state kept last; False when there is none."""


class SceneHistory:
    """A history of its own, for scripts; the panel uses that of its Segment Editor, so that both undo one sequence."""

    def __init__(self) -> None:
        self._histories: dict[str, Any] = {}

    def save(self, segmentationNode) -> None:
        segmentation = segmentationNode.GetSegmentation()
        history = self._histories.get(segmentationNode.GetID())
        if history is None or history.GetSegmentation() is not segmentation:
            history = slicer.vtkSegmentationHistory()
            history.SetSegmentation(segmentation)
            history.SetMaximumNumberOfStates(STATES)
            self._histories[segmentationNode.GetID()] = history
        history.SaveState()

    def undo(self, segmentationNode) -> bool:
        history = self._histories.get(segmentationNode.GetID())
        return bool(history and history.IsRestorePreviousStateAvailable() and history.RestorePreviousState())
