"""The image in the README: a prompt, its result, and a correction, as Slicer's views draw them."""

from __future__ import annotations

import heads
import numpy as np
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import markups, overlay, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from PIL import Image
from sliceview import SCREENSHOTS

from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.dataset import make_phantom

INFERNO = (
    (0, 0, 4),
    (40, 11, 84),
    (101, 21, 110),
    (159, 42, 99),
    (212, 72, 66),
    (245, 125, 21),
    (250, 193, 39),
    (252, 255, 164),
)
"""Evenly spaced colors of the color map of this name, for which slicer-core has no file."""


def add_inferno() -> None:
    """Add the color table that the saliency map uses, under its name in Slicer."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetSingletonTag("FileInferno.txt")
    node.SetNumberOfColors(256)
    levels = np.linspace(0, 1, len(INFERNO))
    for number in range(256):
        color = [np.interp(number / 255, levels, channel) / 255 for channel in np.transpose(INFERNO)]
        node.SetColor(number, str(number), *color, 1.0)
    slicer.mrmlScene.AddNode(node)
    assert node.GetID() == overlay.COLORS


def test_a_prompt_and_a_correction_in_the_views(view, panel) -> None:
    """Draw, from left to right, the saliency with SAM's boxes, the mask, and the mask after a correcting click."""
    add_inferno()
    phantom = make_phantom("validation", 6, "MR", 1)
    volume, ui = heads.add_volume(phantom.image), panel.ui
    slices = SceneSlices(volume)
    view.look((-4, 6, -16), 128)
    ui.inputVolumeSelector.setCurrentNode(volume)
    ui.promptEdit.setPlainText("brain tumor")
    ui.saliencyCheckBox.checked, ui.saliencySlider.value = True, 30
    ui.segmentButton.click()
    standin.pump(lambda: not panel.busy, 60)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    assert node is not None, ui.resultLabel.text
    found = segments.readSlice(node, identifier, slices, 1)
    mask, boxes = node.GetDisplayNode(), [box.GetDisplayNode() for box in markups.markupsOf(volume, markups.BOX)]
    assert boxes
    for box in boxes:
        box.SetHandlesInteractive(False)  # slicer-core 5.13 draws handles beside their places
    mask.SetOpacity2DFill(0.2)
    mask.SetSliceIntersectionThickness(2)
    mask.SetVisibility(False)
    images = [view.image()]
    for display in (mask, *boxes):
        display.SetVisibility(display is mask)
    ui.saliencyCheckBox.checked = False
    images.append(view.image())
    missed = np.argwhere(phantom.lesion_mask & ~found)
    row, column = missed[len(missed) // 2]
    ui.insideButton.checked = True
    view.click(view.pixel((60 - column, 70 - row)))  # of heads.add_volume
    standin.pump(lambda: not panel.busy, 60)
    ui.insideButton.checked = False
    view.move((3, 3))
    images.append(view.image())
    corrected = segments.readSlice(node, identifier, slices, 1)
    assert corrected[row, column]
    assert dsc(corrected, phantom.lesion_mask) > 0.8
    ui.saliencyCheckBox.checked = True
    gap = np.full((view.size, 6, 3), 255, np.uint8)
    parts = [part for image in images for part in (image, gap)]
    Image.fromarray(np.concatenate(parts[:-1], 1)).save(SCREENSHOTS / "views.png")
