"""The history of the embedded Segment Editor: brush strokes and results are undone in one sequence."""

from __future__ import annotations

import slicer
from MedCLIPSAMScene.history import SceneHistory


class EditorHistory:
    """A `MedCLIPSAMScene.history.History` on the Segment Editor.

    The editor keeps the states of the segmentation that it shows. A result that is written into another one, because
    the user has chosen something else meanwhile, is kept aside: the editor is not moved.

    Args:
        editor: the qMRMLSegmentEditorWidget.
    """

    def __init__(self, editor) -> None:
        self._editor = editor
        self._aside = SceneHistory()

    def save(self, segmentationNode) -> None:
        """See `history.History`."""
        if self._editor.segmentationNode() is segmentationNode:
            self._editor.saveStateForUndo()
        else:
            self._aside.save(segmentationNode)

    def undo(self, segmentationNode) -> bool:
        """See `history.History`. The editor does not tell whether it had a state, so what it changes is observed."""
        if self._editor.segmentationNode() is segmentationNode and self._changes(segmentationNode):
            return True
        return self._aside.undo(segmentationNode)

    def _changes(self, segmentationNode) -> bool:
        """Let the editor undo, and return whether segments have changed."""
        changed: list[object] = []
        segmentation, events = segmentationNode.GetSegmentation(), slicer.vtkSegmentation
        tags = [
            segmentation.AddObserver(event, lambda *_arguments: changed.append(True))
            for event in (events.SegmentAdded, events.SegmentRemoved, events.SegmentModified)
        ]
        try:
            self._editor.undo()
        finally:
            for tag in tags:
                segmentation.RemoveObserver(tag)
        return bool(changed)
