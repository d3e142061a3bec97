"""Label maps of segments on voxel grids: making, resampling, and merging them into a segment."""

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
"""Maximum distance, in voxels, between the voxel centers of two grids that count as the same."""
MAX_VOXELS = 400e6
"""Maximum number of voxels of a grid that a segment or the reference geometry is converted to; a voxel takes a byte."""
CONVERTER = slicer.vtkSegmentationConverter
GEOMETRY = CONVERTER.GetReferenceImageGeometryParameterName()
"""Name of the conversion parameter of the grid that Slicer edits and saves segments on."""
CLEAR = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MIN
ADD = slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MASK
"""Mode that writes the segment's label value, which may differ from 1 if it has shared its label map with others."""
REPLACE = slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE


def orientedImage(block: np.ndarray, corner: Sequence[int], matrix: np.ndarray):
    """Make a vtkOrientedImageData from a (K, J, I) bool or uint8 block of a voxel grid.

    Args:
        corner: (i, j, k) of the block's first voxel.
        matrix: 4 x 4, from the grid's voxels to RAS.
    """
    k, j, i = block.shape
    image = slicer.vtkOrientedImageData()
    image.SetExtent(corner[0], corner[0] + i - 1, corner[1], corner[1] + j - 1, corner[2], corner[2] + k - 1)
    scalars = numpy_to_vtk(np.ascontiguousarray(block, np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return image


def resampled(image, extent: Extent, matrix: np.ndarray, outside: int = 0):
    """Resample a vtkOrientedImageData to an extent of another voxel grid, by nearest neighbor.

    Args:
        matrix: 4 x 4, from the grid's voxels to RAS.
        outside: value outside the image.
    """
    made, frame = slicer.vtkOrientedImageData(), orientedImage(np.zeros(shapeOf(extent), np.uint8), extent[::2], matrix)
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(image, frame, made, False, False, None, outside):
        raise RuntimeError(f"a label map could not be resampled to the extent {extent}")
    return made


def merge(segmentationNode, segmentId: str, image, mode: int) -> None:
    """Merge a vtkOrientedImageData into a segment: CLEAR where the image is 0, ADD where it is not, or REPLACE all."""
    if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        image, segmentationNode, segmentId, mode, image.GetExtent()
    ):
        raise RuntimeError(f"the segment '{segmentId}' of '{segmentationNode.GetName()}' could not be written")


def labelmapOf(segmentationNode, segmentId: str) -> tuple[Any, np.ndarray] | None:
    """Return the label map of a segment and the matrix of its grid; None if it is empty."""
    image = segmentationNode.GetSegmentation().GetSegment(segmentId).GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return image, slicer.util.arrayFromVTKMatrix(matrix)


def usedExtent(segmentationNode, segmentId: str, matrix: np.ndarray) -> Extent | None:
    """Return the extent of a grid that holds all of a segment, which may be on another grid; None if it is empty."""
    labelmap, extent = labelmapOf(segmentationNode, segmentId), [0] * 6
    if labelmap is None or not slicer.vtkOrientedImageDataResample.CalculateEffectiveExtent(labelmap[0], extent):
        return None
    return around(extent, np.linalg.inv(matrix) @ labelmap[1])


def requireGrid(segmentationNode, segmentId: str, matrix: np.ndarray, extent: Extent) -> np.ndarray:
    """Return a voxel grid on which masks of a volume can be written without changing the segment's other slices.

    A segment on another grid is resampled to this one, see `commonGrid`; on the volume's grid it stays the same. The
    reference geometry of the segmentation, to which Slicer resamples segments that it edits or saves, is changed
    likewise.

    Args:
        matrix: 4 x 4, from the volume's voxels to the node's RAS. This object is returned if the volume's grid is used.
        extent: extent of the volume.

    Raises:
        InputError: the grid would have more than MAX_VOXELS voxels.
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
    """Change the reference geometry of a segmentation to a grid that also holds another grid; see `commonGrid`."""
    new = commonGrid(own, used, grid, extent)
    if new is not own:
        boxes = around(used, np.linalg.inv(new) @ own), around(extent, np.linalg.inv(new) @ grid)
        whole = [(min, max)[at % 2](pair) for at, pair in enumerate(zip(*boxes))]
        _requireSize(segmentationNode, whole)
        segmentationNode.GetSegmentation().SetConversionParameter(GEOMETRY, geometryText(new, whole))


def commonGrid(own: np.ndarray, used: Extent, matrix: np.ndarray, extent: Extent) -> np.ndarray:
    """Return a voxel grid for masks on either of two grids, which preserves both as they are seen from the second.

    This is the first grid if each voxel of the second contains the center of one of its voxels. Otherwise it is the
    second grid, with voxels divided so that finer detail of the first is kept.

    Args:
        own: 4 x 4, from the voxels of the first grid to RAS. This object is returned if that grid is used.
        used: extent of the first grid.
        matrix: 4 x 4, from the voxels of the second grid to RAS. This object is returned if that grid is used.
        extent: extent of the second grid.
    """
    if _alignment(own, used, matrix, extent) is not None:
        return own
    toSecond = np.linalg.inv(matrix) @ own
    size = np.abs(toSecond[:3, :3]).sum(1).max()  # of boxes around the first grid's voxels, in voxels of the second
    if size < 1 - ALIGNED:
        return own
    # With an odd number of parts, the center of the middle part is the center of the voxel.
    parts = 2 * np.ceil((1 / np.linalg.norm(toSecond[:3, :3], axis=1) - 1) / 2 - ALIGNED).clip(0) + 1
    divided = np.diag([*1 / parts, 1])
    divided[:3, 3] = (1 - parts) / (2 * parts)
    return matrix @ divided if (parts > 1).any() else matrix


def referenceGeometry(segmentationNode) -> tuple[np.ndarray, Extent] | None:
    """Return the matrix and the extent of the grid that Slicer resamples segments to; None if there is none."""
    return geometryOf(segmentationNode.GetSegmentation().GetConversionParameter(GEOMETRY))


def geometryText(matrix: np.ndarray, extent: Sequence[int]) -> str:
    """Return a voxel grid as text in Slicer's format."""
    return str(CONVERTER.SerializeImageGeometry(slicer.util.vtkMatrixFromArray(matrix), extent))


def geometryOf(text: str) -> tuple[np.ndarray, Extent] | None:
    """Read a voxel grid from text by Slicer or `geometryText`: its matrix and its extent; None if there is none."""
    matrix, extent = vtk.vtkMatrix4x4(), [0] * 6
    if not text or not CONVERTER.DeserializeImageGeometry(text, matrix, extent):
        return None
    grid, (i0, i1, j0, j1, k0, k1) = slicer.util.arrayFromVTKMatrix(matrix), extent
    return (grid, (i0, i1, j0, j1, k0, k1)) if np.isfinite(grid).all() else None


def _alignment(own: np.ndarray, used: Extent, matrix: np.ndarray, extent: Extent) -> np.ndarray | None:
    """Return the integer matrix from the voxels of a grid to the voxels of another grid that they coincide with.

    None if voxel centers do not coincide in some corner of one of the extents.
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
