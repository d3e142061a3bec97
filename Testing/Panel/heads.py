"""Heads in the scene, and the user's actions to segment them."""

from __future__ import annotations

import helpers.scene
import numpy as np
import slicer
import slicer.util
import standin
from helpers.scene import PROMPT, axial
from MedCLIPSAMScene import segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks


def add_volume(image: np.ndarray, slices: int = 3, at: int = 1, matrix: np.ndarray | None = None):
    """Add a head whose slice `at` is the image, and show it in the Red view.

    R = 60 - column, A = 70 - row, S = -20 + 4 slice.
    """
    node = helpers.scene.add_volume(image, axial() if matrix is None else matrix, slices, at)
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
    """Choose the volume, type a prompt, press the button, and wait, as a user does."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(prompts)
    assert panel.ui.segmentButton.enabled
    panel.ui.segmentButton.click()
    assert panel.busy and panel.ui.cancelButton.enabled and not panel.ui.segmentButton.enabled
    standin.pump(lambda: idle(panel), 120)


def outlined(panel, volume, *names: str):
    """Add a segmentation whose segments have some voxels on slice 1, and choose it in the panel."""
    node = segments.newSegmentation(volume, "by hand")
    mask = np.zeros((128, 128), bool)
    mask[40:60, 40:60] = True
    for name in names:
        identifier = segments.addSegment(node, name)
        segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(volume), {1: mask}))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.segmentationSelector.setCurrentNode(node)
    return node
