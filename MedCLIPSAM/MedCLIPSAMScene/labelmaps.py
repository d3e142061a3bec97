"""Label maps of segments on voxel grids: made, resampled, and merged into a segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from MedCLIPSAMLib.errors import InputError

from .sliceGeometry import drift
from .sliceMasks import Extent, around, shapeOf
from .strings import _

BINARY = "Binary labelmap"
ALIGNED = 0.01
"""Maximum distance, in voxels, between the voxel centers of two grids that count as one."""
MAX_VOXELS = 400e6
"""Maximum voxels of a grid that a segment, or the reference geometry, is brought to, a byte each."""
CONVERTER = slicer.vtkSegmentationConverter
GEOMETRY = CONVERTER.GetReferenceImageGeometryParameterName()
"""Name of the conversion parameter of the grid that Slicer edits and saves segments on."""
CLEAR = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MIN
ADD = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MASK
"""With the value of the segment, which is not 1 where others have left the label map that it shared with them."""
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


def labelmapOf(segmentationNode, segmentId: str) -> tuple[Any, np.ndarray] | None:
    """Return the label map of a segment and the matrix of its grid; None where it is empty."""
    image = segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return image, slicer.util.arrayFromVTKMatrix(matrix)


def usedExtent(segmentationNode, segmentId: str, matrix: np.ndarray) -> Extent | None:
    """Return the extent of a grid in which a segment, on any grid, may not be empty; None where it is empty."""
    labelmap, extent = labelmapOf(segmentationNode, segmentId), [0] * 6
    if labelmap is None or not slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(labelmap[0], extent):
        return None
    return around(extent, np.linalg.inv(matrix) @ labelmap[1])


def requireGrid(segmentationNode, segmentId: str, matrix: np.ndarray, extent: Extent) -> np.ndarray:
    """Return the voxel grid that masks of a volume can be written on without a change of the segment's other slices.

    A segment that is not on such a grid is brought to one, see `commonGrid`; seen from the volume it is the same. So is
    the reference geometry of the segmentation, to which Slicer resamples the segments that it edits or saves.

    Args:
        matrix: from the volume's voxels to the node's RAS; returned itself where its grid is the one.
        extent: of the volume.

    Raises:
        InputError: that grid would have more than MAX_VOXELS.
    """
    segment, reference, grid = labelmapOf(segmentationNode, segmentId), referenceGeometry(segmentationNode), matrix
    if segment is not None:
        image, own = segment
        used = image.GetExtent()
        turned = _alignment(own, used, matrix, extent)
        if turned is None or not np.array_equal(turned, np.eye(4)):
            grid = commonGrid(own, used, matrix, extent)
            if grid is not own:
                needed = around(used, np.linalg.inv(grid) @ own)
                _requireSize(segmentationNode, needed)
                image = resampled(image, needed, grid)
                merge(segmentationNode, segmentId, image, REPLACE)
    if reference is not None:
        _widen(segmentationNode, *reference, grid, around(extent, np.linalg.inv(grid) @ matrix))
    return grid


def _widen(segmentationNode, own: np.ndarray, used: Extent, grid: np.ndarray, extent: Extent) -> None:
    """Bring the reference geometry of a segmentation to a grid that holds another one, too; see `commonGrid`."""
    new = commonGrid(own, used, grid, extent)
    if new is not own:
        boxes = around(used, np.linalg.inv(new) @ own), around(extent, np.linalg.inv(new) @ grid)
        whole = [(min, max)[at % 2](pair) for at, pair in enumerate(zip(*boxes))]
        _requireSize(segmentationNode, whole)
        segmentationNode.GetSegmentation().SetConversionParameter(GEOMETRY, geometryText(new, whole))


def commonGrid(own: np.ndarray, used: Extent, matrix: np.ndarray, extent: Extent) -> np.ndarray:
    """Return a voxel grid that holds masks on either of two grids, as each is seen from the second.

    That is the first where each voxel of the second holds the center of one of its voxels. Else it is the second,
    divided so that what is finer in the first is kept.

    Args:
        own: from the voxels of the first grid to RAS; returned itself where it is the one.
        used: of the first grid.
        matrix: from the voxels of the second grid to RAS; returned itself where it is the one.
        extent: of the second grid.
    """
    if _alignment(own, used, matrix, extent) is not None:
        return own
    toSecond = np.linalg.inv(matrix) @ own
    size = np.abs(toSecond[:3, :3]).sum(1).max()  # of the boxes around the first grid's voxels, in those of the second
    if size < 1 - ALIGNED:
        return own
    # Odd numbers of parts: the center of the middle one is that of the voxel.
    parts = 2 * np.ceil((1 / np.linalg.norm(toSecond[:3, :3], axis=1) - 1) / 2 - ALIGNED).clip(0) + 1
    divided = np.diag([*1 / parts, 1])
    divided[:3, 3] = (1 - parts) / (2 * parts)
    return matrix @ divided if (parts > 1).any() else matrix


def referenceGeometry(segmentationNode) -> tuple[np.ndarray, Extent] | None:
    """Return the matrix and the extent of the grid that Slicer resamples segments to; None where there is none."""
    return geometryOf(segmentationNode.GetSegmentation().GetConversionParameter(GEOMETRY))


def geometryText(matrix: np.ndarray, extent: Sequence[int]) -> str:
    """Write a voxel grid as Slicer does."""
    return str(CONVERTER.SerializeImageGeometry(slicer.util.vtkMatrixFromArray(matrix), extent))


def geometryOf(text: str) -> tuple[np.ndarray, Extent] | None:
    """Read a voxel grid that Slicer or `geometryText` wrote: its matrix and its extent; None where there is none."""
    matrix, extent = vtk.vtkMatrix4x4(), [0] * 6
    if not text or not CONVERTER.DeserializeImageGeometry(text, matrix, extent):
        return None
    grid, (i0, i1, j0, j1, k0, k1) = slicer.util.arrayFromVTKMatrix(matrix), extent
    return (grid, (i0, i1, j0, j1, k0, k1)) if np.isfinite(grid).all() else None


def _alignment(own: np.ndarray, used: Extent, matrix: np.ndarray, extent: Extent) -> np.ndarray | None:
    """Return the matrix, of whole numbers, from the voxels of a grid to those of another that they coincide with.

    None where their centers are apart in a corner of one of the extents.
    """
    toSecond = np.linalg.inv(matrix) @ own
    nearest = np.rint(toSecond)
    if not np.array_equal(np.abs(nearest[:3, :3]) @ (1, 1, 1), (1, 1, 1)) or not np.linalg.det(nearest):
        return None
    back, toFirst = np.linalg.inv(nearest), np.linalg.inv(toSecond)
    apart = max(drift(toSecond - nearest, used), drift(toFirst - back, extent))
    return nearest if apart < ALIGNED else None


def _requireSize(segmentationNode, extent: Sequence[int]) -> None:
    count = math.prod(shapeOf(extent))
    if count > MAX_VOXELS:
        raise InputError(
            _("'{name}' would need {count:.0f} million voxels to hold its segments and masks of the volume.").format(
                name=segmentationNode.GetName(), count=count / 1e6
            ),
            _("Create a new segmentation, or resample the volume to the grid of its segments first."),
        )
