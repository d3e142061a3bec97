"""The picture of the README: a prompt, what it found, and a correction, as Slicer's views draw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import markups, overlay, segments
from MedCLIPSAMScene.samples import loadSample
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from PIL import Image

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.volumes import read_segmentation

PICTURE = Path(__file__).resolve().parents[2] / "demo-output" / "views" / "views.png"
INFERNO = ((0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164))
"""Colors of the map of this name, evenly spaced: slicer-core lacks the file that Slicer reads it from."""


def add_inferno() -> None:
    """Add the color table that the saliency map asks for, under the name that it has in Slicer."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetSingletonTag("FileInferno.txt")
    node.SetNumberOfColors(256)
    levels = np.linspace(0, 1, len(INFERNO))
    for number in range(256):
        color = [np.interp(number / 255, levels, channel) / 255 for channel in np.transpose(INFERNO)]
        node.SetColor(number, f"{number}", *color, 1.0)
    slicer.mrmlScene.AddNode(node)
    assert node.GetID() == overlay.COLOURS


def test_a_prompt_and_a_correction_in_the_views(view, panel) -> None:
    """The image; its saliency and boxes; the mask and a point that takes away what is wrong."""
    add_inferno()
    volume = loadSample("MedCLIPSAMBrainMRI")
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").SetBackgroundVolumeID(volume.GetID())
    slices, ui = SceneSlices(volume), panel.ui
    height, width = slices.stack.picture_shape
    view.look(slices.toWorld(0, width / 2, height / 2), 1.02 * np.linalg.norm(slices.toWorld(0, width, 0) - slices.toWorld(0, 0, 0)))
    pictures = [view.picture()]
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.promptEdit.setPlainText("brain tumor")
    ui.saliencySlider.value = 30
    ui.segmentButton.click()
    standin.pump(lambda: not panel.busy, 60)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    for box in markups.markupsOf(volume, markups.BOX):
        box.GetDisplayNode().SetHandlesInteractive(False)  # slicer-core 5.13 draws handles beside their places
    node.GetDisplayNode().SetVisibility(False)
    pictures.append(view.picture())
    node.GetDisplayNode().SetVisibility(True)
    node.GetDisplayNode().SetOpacity2DFill(0.35)
    ui.saliencyCheckBox.checked = False
    ui.removeBoxesButton.click()
    pictures.append(view.picture())
    truth = read_segmentation(resource_path("samples/brain_mri_truth.nii.gz"))[0].mask[0]
    found = segments.readSlice(node, identifier, slices, 0)
    ui.insideButton.checked = True
    row, column = np.argwhere(truth).mean(0)
    view.click(view.pixel(slices.toWorld(0, column + 0.5, row + 0.5)))
    standin.pump(lambda: not panel.busy, 60)
    ui.insideButton.checked = False
    view.move((3, 3))
    pictures.append(view.picture())
    ui.saliencyCheckBox.checked = True
    corrected = segments.readSlice(node, identifier, slices, 0)
    print(dsc(found, truth), dsc(corrected, truth), found.shape, truth.shape)
    gap = np.full((view.size, 6, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(row, 1)).save(PICTURE)
