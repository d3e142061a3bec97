"""Heads in the scene, and what a user does to segment one."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import standin
import vtk
from MedCLIPSAMScene.sliceGeometry import SceneSlices

PROMPT = "brain tumor"


def add_volume(image: np.ndarray, slices: int = 3, at: int = 1):
    """A head whose slice `at` is the image, shown in the Red view."""
    array = np.zeros((slices, *image.shape), np.int16)
    array[at] = image
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(node, array)
    matrix = np.diag([-1.0, -1.0, 4.0, 1.0])
    matrix[:3, 3] = 60, 70, -20
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    show(node, at)
    return node


def show(volume, k: int) -> None:
    """Move the Red view to a slice and show the volume in it."""
    slices = SceneSlices(volume)
    view = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    height, width = slices.stack.image_shape
    for row, value in enumerate(slices.toWorld(k, width / 2, height / 2)):
        view.GetSliceToRAS().SetElement(row, 3, value)
    view.UpdateMatrices()
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").SetBackgroundVolumeID(volume.GetID())


def idle(panel) -> bool:
    return not panel.busy


def segment(panel, volume, prompts: str = PROMPT) -> None:
    """What the user does: choose the volume, type, press the button, wait."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(prompts)
    assert panel.ui.segmentButton.enabled
    panel.ui.segmentButton.click()
    assert panel.busy and panel.ui.cancelButton.enabled and not panel.ui.segmentButton.enabled
    standin.pump(lambda: idle(panel), 120)


def mask_on(node, segment_id: str, volume) -> np.ndarray:
    identifiers = vtk.vtkStringArray()
    identifiers.InsertNextValue(segment_id)
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, identifiers, labels, volume)
    array = slicer.util.arrayFromVolume(labels) > 0
    slicer.mrmlScene.RemoveNode(labels)
    return array
