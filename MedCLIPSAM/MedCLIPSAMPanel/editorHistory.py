"""The history of the embedded Segment Editor: brush strokes and results are undone in one sequence."""

from __future__ import annotations


class EditorHistory:
    """A `MedCLIPSAMScene.history.History` on the Segment Editor.

    Args:
        editor: the qMRMLSegmentEditorWidget.
    """

    def __init__(self, editor) -> None:
        self._editor = editor

    def save(self, segmentationNode) -> None:
        """See `history.History`."""
        if self._editor.segmentationNode() is not segmentationNode:
            self._editor.setSegmentationNode(segmentationNode)
        self._editor.saveStateForUndo()

    def undo(self, segmentationNode) -> bool:
        """See `history.History`; the editor does not tell whether there was a state, and does nothing when not."""
        if self._editor.segmentationNode() is not segmentationNode:
            return False
        self._editor.undo()
        return True
