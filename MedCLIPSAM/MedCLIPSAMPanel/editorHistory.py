"""The history of the embedded Segment Editor: brush strokes and results are undone in one sequence."""

from __future__ import annotations

from collections.abc import Callable

import slicer
from MedCLIPSAMScene.history import SceneHistory, changesOf


class EditorHistory:
    """A `MedCLIPSAMScene.history.History` on the Segment Editor.

    The editor stores the states of the segmentation that it shows. A result that is written into another one, because
    the user has chosen something else meanwhile, is stored separately: the editor keeps its segmentation.

    Args:
        editor: the qMRMLSegmentEditorWidget.
        volumeShown: returns the volume that the user works on. While no segmentation is shown, a new one of this volume
            is: the first result must be undone by the editor, too.
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
        """See `history.History`. The editor does not tell whether it had a state, so its changes are observed."""
        if self._editor.segmentationNode() is segmentationNode and self._changes(segmentationNode):
            return True
        return self._aside.undo(segmentationNode)

    def _changes(self, segmentationNode) -> bool:
        """Undo in the editor, and return whether segments have changed."""
        with changesOf(segmentationNode) as changed:
            self._editor.undo()
        return bool(changed)
