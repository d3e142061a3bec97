"""Write masks into a segment through the Segment Editor, so that its settings apply.

The editor's masking (editable area, editable intensity range) and overwriting apply as for its other effects. Only the
segmented slices are changed, on the voxel grid of the editor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedCLIPSAMLib.errors import InputError

from . import protect, segments
from .answers import Found
from .labelmaps import orientedImage, resampled
from .results import SceneResult
from .sliceMasks import Extent, around, cut, shapeOf, within
from .strings import _


def writeByEditor(effect, segmentationNode, segmentId: str, found: Found) -> SceneResult:
    """Replace a segment by the masks of one prompt where the editor may change it; keep it if nothing was found.

    Args:
        effect: the active qSlicerSegmentEditorScriptedEffect.

    Raises:
        InputError: the segment was removed, other nodes were chosen in the editor, or nothing may be changed.
    """
    (prompt,) = found.masks
    node, masks = effect.parameterSetNode(), found.masks[prompt]
    if (node.GetSegmentationNode(), node.GetSourceVolumeNode()) != (segmentationNode, found.geometry.volumeNode):
        raise InputError(_("Another segmentation or volume was chosen meanwhile."), _("Apply again."))
    segments.requireSegment(segmentationNode, segmentId)
    remarks = found.leaveTheUsers(prompt, segmentationNode, segmentId)
    if masks:
        with _selected(node, segmentId):
            kept = protect.lockedElsewhere(segmentationNode, segmentId, masks.slices)
            grid = _Grid(effect, segmentationNode, segmentId, masks.slices.ijkToRAS, kept)
            edits = [edit for run in masks.runs() if (edit := grid.edit(*run)) is not None]
            if not any(edit.added.any() for edit in edits):
                raise InputError(
                    _("The masking settings allow no voxel to be written; the segment is as it was."),
                    _("Check the masking settings, and whether the segmentation has voxels on these slices."),
                )
            effect.saveStateForUndo()
            modified = segmentationNode.StartModify()
            try:
                for edit in edits:
                    edit.make(effect)
                protect.takeChecks(segmentationNode, segmentId, masks)
                found.keepProvenance(prompt, segmentationNode, segmentId)
            finally:
                segmentationNode.EndModify(modified)
    return found.sceneResult(segmentationNode, [found.promptResult(prompt, segmentId, remarks)])


@dataclass(frozen=True)
class _Edit:
    """The edit of a block of voxels: (K, J, I) bool arrays whose first voxel is at the lower corner of the extent."""

    added: np.ndarray
    removed: np.ndarray
    extent: Extent
    matrix: np.ndarray

    def make(self, effect) -> None:
        """Change the selected segment."""
        modes = slicer.qSlicerSegmentEditorAbstractEffect
        for block, mode in (
            (self.removed, modes.ModificationModeRemove),
            (self.added, modes.ModificationModeAdd),
        ):
            if block.any():
                labelmap = orientedImage(block, self.extent[::2], self.matrix)
                effect.modifySelectedSegmentByLabelmap(labelmap, mode, list(self.extent))


class _Grid:
    """The voxel grid of the editor for the selected segment.

    Args:
        ijkToRAS: 4 x 4, of the volume that the masks are on.
        kept: (K, J, I) bool, voxels of that volume that are not changed; None if there are none.
    """

    def __init__(self, effect, segmentationNode, segmentId: str, ijkToRAS: np.ndarray, kept: np.ndarray | None) -> None:
        self._effect, self._segmentationNode, self._segmentId = effect, segmentationNode, segmentId
        self._ijkToRAS, self._kept = ijkToRAS, kept
        image = effect.referenceGeometryImage()
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        self._matrix, self._extent = slicer.util.arrayFromVTKMatrix(matrix), tuple(image.GetExtent())

    def edit(self, covered: Extent, block: np.ndarray, corner: Sequence[int]) -> _Edit | None:
        """Compute the edit of the voxels on some slices; None if they are outside the editor's grid.

        Args: see `SliceMasks.runs`.
        """
        extent = self._extentOf(covered)
        if extent is None:
            return None
        looked = self._resample(np.ones(shapeOf(covered), np.uint8), covered[::2], extent)
        found = self._resample(block, corner, extent) if block.size else np.zeros_like(looked)
        editable = self._editable(extent)
        if self._kept is not None:
            editable &= ~self._resample(self._kept[within(covered)], covered[::2], extent)
        present = segments.readMask(self._segmentationNode, self._segmentId, looked.shape, self._matrix, extent[::2])
        # If the editable area is inside another segment, the editor restricts adding only, so removal is masked here.
        return _Edit(found & editable, looked & present & ~found & editable, extent, self._matrix)

    def _extentOf(self, covered: Extent) -> Extent | None:
        """Compute the extent of the editor's voxels in the covered voxels of the volume; None if there are none."""
        return cut(around(covered, np.linalg.inv(self._matrix) @ self._ijkToRAS), self._extent)

    def _resample(self, block: np.ndarray, corner: Sequence[int], extent: Extent) -> np.ndarray:
        image = orientedImage(block, corner, self._ijkToRAS)
        return _block(resampled(image, extent, self._matrix), extent) > 0

    def _editable(self, extent: Extent) -> np.ndarray:
        """Compute where the editor's masking allows the segment to be changed."""
        node, frame = self._effect.parameterSetNode(), self._frame(extent)
        if node.GetMaskMode() != slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere:
            resample = slicer.vtkOrientedImageDataResample
            resample.ModifyImage(frame, self._effect.maskLabelmap(), resample.OPERATION_MAXIMUM)
        editable = _block(frame, extent) == 0
        if node.GetSourceVolumeIntensityMask():
            low, high = node.GetSourceVolumeIntensityMaskRange()
            values = _block(self._effect.sourceVolumeImageData(), extent)
            editable &= (values >= low) & (values <= high)
        return editable

    def _frame(self, extent: Extent):
        return orientedImage(np.zeros(shapeOf(extent), np.uint8), extent[::2], self._matrix)


@contextmanager
def _selected(node, segmentId: str) -> Iterator[None]:
    """Select a segment for the editor to mask and change, and restore the user's choice at the end."""
    chosen, modified = node.GetSelectedSegmentID(), node.StartModify()
    node.SetSelectedSegmentID(segmentId)
    try:
        yield
    finally:
        node.SetSelectedSegmentID(chosen)
        node.EndModify(modified)


def _block(image, extent: Extent) -> np.ndarray:
    """Return the voxels of an image in an extent that it covers, as a (K, J, I) array."""
    full = image.GetExtent()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shapeOf(full))
    bounds = (slice(a - first, b + 1 - first) for a, b, first in zip(extent[4::-2], extent[5::-2], full[4::-2]))
    return voxels[tuple(bounds)]
