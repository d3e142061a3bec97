"""Undo by the embedded Segment Editor, so that brush strokes and results are undone in one sequence."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from MedCLIPSAMScene.history import SceneHistory, changesOf


class EditorHistory:
    """A `MedCLIPSAMScene.history.History` that uses the undo states of the Segment Editor.

    The editor stores the states of the segmentation that it shows. If the user has chosen another segmentation during
    a run, the states of the one that the result is written into are stored separately, and the editor keeps its own.

    Args:
        editor: the qMRMLSegmentEditorWidget.
        volumeShown: returns the volume that the user works on. If the editor shows no segmentation, it is given a new
            one of this volume, so that it can undo the first result, too.
    """

    def __init__(self, editor, volumeShown: Callable[[], object]) -> None:
        self._editor, self._volumeShown = editor, volumeShown
        self._aside = SceneHistory()

    def save(self, segmentationNode) -> None:
        """See `history.History`."""
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        isShown = segmentationNode.GetNodeReference(role) is self._volumeShown()
        if self._editor.segmentationNode() is None and isShown:
            self._editor.setSegmentationNode(segmentationNode)
        if self._editor.segmentationNode() is segmentationNode:
            self._editor.saveStateForUndo()
        else:
            self._aside.save(segmentationNode)

    def undo(self, segmentationNode) -> bool:
        """See `history.History`. The editor does not report whether it had a state, so its changes are observed."""
        if self._editor.segmentationNode() is segmentationNode and self._changes(segmentationNode):
            return True
        return self._aside.undo(segmentationNode)

    def _changes(self, segmentationNode) -> bool:
        """Undo in the editor, and return whether segments have changed."""
        with changesOf(segmentationNode) as changed:
            self._editor.undo()
        return bool(changed)
