"""Label maps of segments on voxel grids: made, resampled, and merged into a segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .sliceMasks import Extent, around, shapeOf

BINARY = "Binary labelmap"
ALIGNED = 0.01
"""Maximum distance, in voxels, between the voxel centers of two grids that count as one."""
CLEAR = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MIN
ADD = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MAX
REPLACE = slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE


def orientedImage(block: np.ndarray, corner: Sequence[int], matrix: np.ndarray):
    """Make a vtkOrientedImageData of a (K, J, I) bool or uint8 block of the voxel grid, first voxel at `corner`."""
    k, j, i = block.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(corner[0], corner[0] + i - 1, corner[1], corner[1] + j - 1, corner[2], corner[2] + k - 1)
    scalars = numpy_to_vtk(np.ascontiguousarray(block, np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return image


def resampled(image, extent: Extent, matrix: np.ndarray, outside: int = 0):
    """Resample a vtkOrientedImageData, by its nearest voxels, to an extent of another voxel grid.

    Args:
        matrix: from the grid's voxels to RAS.
        outside: the value outside of the image.
    """
    made, frame = slicer.vtkOrientedImageData(), orientedImage(np.zeros(shapeOf(extent), np.uint8), extent[::2], matrix)
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(image, frame, made, False, False, None, outside):
        raise RuntimeError(f"a label map could not be resampled to the extent {extent}")
    return made


def merge(segmentationNode, segmentId: str, image, mode: int) -> None:
    """Merge a vtkOrientedImageData into a segment: CLEAR where it is 0, ADD where it is not, or REPLACE all."""
    if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        image, segmentationNode, segmentId, mode, image.GetExtent()
    ):
        raise RuntimeError(f"the segment '{segmentId}' of '{segmentationNode.GetName()}' could not be written")


def _labelmapOf(segmentationNode, segmentId: str) -> tuple[Any, np.ndarray] | None:
    """Return the label map of a segment and the matrix of its grid; None where it is empty."""
    image = segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return image, slicer.util.arrayFromVTKMatrix(matrix)


def usedExtent(segmentationNode, segmentId: str, matrix: np.ndarray) -> Extent | None:
    """Return the extent of a grid in which a segment, on any grid, may not be empty; None where it is empty."""
    labelmap, extent = _labelmapOf(segmentationNode, segmentId), [0] * 6
    if labelmap is None or not slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(labelmap[0], extent):
        return None
    return around(extent, np.linalg.inv(matrix) @ labelmap[1])


def requireGrid(segmentationNode, segmentId: str, matrix: np.ndarray) -> np.ndarray:
    """Return the voxel grid that masks of a volume can be written on without a change of the segment's other slices.

    That is the segment's own where each voxel of the volume holds the center of one of its voxels. Else the segment is
    brought to the grid of the volume, divided so that what is finer in the segment is kept; seen from the volume it is
    the same.

    Args:
        matrix: from the volume's voxels to the node's RAS; returned itself where its grid is the one.
    """
    labelmap = _labelmapOf(segmentationNode, segmentId)
    if labelmap is None or np.allclose(labelmap[1], matrix):
        return matrix
    image, own = labelmap
    toVolume = np.linalg.inv(matrix) @ own
    size = np.abs(toVolume[:3, :3]).sum(1).max()  # of the boxes around the segment's voxels, in voxels of the volume
    if size < 1 - ALIGNED or (size < 1 + ALIGNED and np.allclose(toVolume, np.rint(toVolume), atol=ALIGNED)):
        return own
    # Odd numbers of parts: the center of the middle one is that of the voxel.
    parts = 2 * np.ceil((1 / np.linalg.norm(toVolume[:3, :3], axis=1) - 1) / 2 - ALIGNED).clip(0) + 1
    divided = np.diag([*1 / parts, 1])
    divided[:3, 3] = (1 - parts) / (2 * parts)
    grid = matrix @ divided if (parts > 1).any() else matrix
    extent = around(image.GetExtent(), np.linalg.inv(grid) @ own)
    merge(segmentationNode, segmentId, resampled(image, extent, grid), REPLACE)
    return grid
