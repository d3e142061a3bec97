"""Volumes and segmentations in a Slicer scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk

PROMPT = "brain tumor"
TIMEOUT = 120
OBLIQUE = np.array([[0.9, -0.3, 0.1], [0.35, 0.85, -0.2], [-0.05, 0.25, 0.95]])


def add_volume(image: np.ndarray, matrix: np.ndarray, slices: int = 3, at: int = 1):
    """Add a volume whose slice `at` along K shows the image as an axial slice; `matrix` is IJK to RAS."""
    array = np.zeros((slices, *image.shape), np.int16)
    array[at] = image
    return add_array(array, matrix)


def add_array(array: np.ndarray, matrix: np.ndarray):
    """Add a volume with voxels (K, J, I) and the display window 0 to 255; `matrix` is IJK to RAS."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(node, array.astype(np.int16))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return node


def axial(spacing=(1.0, 1.0, 4.0), origin=(60.0, 70.0, -20.0)) -> np.ndarray:
    """Return an IJK-to-RAS matrix with columns to the left, rows to posterior, and slices to superior."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = origin
    return matrix


def oblique() -> np.ndarray:
    rotation = np.linalg.svd(OBLIQUE)
    matrix = axial((0.9, 0.9, 5.0))
    matrix[:3, :3] = rotation[0] @ rotation[2] @ matrix[:3, :3]
    return matrix


def mask_on(node, segment_id: str, volume) -> np.ndarray:
    """Return a segment as Slicer exports it to the grid of the volume, (K, J, I) bool."""
    identifiers = vtk.vtkStringArray()
    identifiers.InsertNextValue(segment_id)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, identifiers, labels, volume)
    array = slicer.util.arrayFromVolume(labels) > 0
    slicer.mrmlScene.RemoveNode(labels)
    return array


def ids(node) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]


def load_segmentation(path: Path) -> object:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


def load_volume(logics: dict[str, object], path: Path) -> object:
    node = logics["Volumes"].AddArchetypeVolume(str(path), "volume", 0)
    assert node is not None
    return node


def mask_on_volume(logics: dict[str, object], node: object, volume_node: object) -> np.ndarray:
    """Return all segments as Slicer exports them to the grid of a volume, (K, J, I) bool."""
    segment_ids = vtk.vtkStringArray()
    node.GetSegmentation().GetSegmentIDs(segment_ids)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert logics["Segmentations"].ExportSegmentsToLabelmapNode(node, segment_ids, labels, volume_node)
    return slicer.util.arrayFromVolume(labels) > 0
