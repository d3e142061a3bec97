"""The saliency map of a prompt as a volume over the picture, cut at a threshold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import slicer.util

from .sliceGeometry import SceneSlices
from .strings import _

SALIENCY_OF = "MedCLIPSAM.SaliencyOf"
"""Node reference from a saliency map to its volume."""
COLOURS = "vtkMRMLColorTableNodeFileInferno.txt"


def writeSaliency(slices: SceneSlices, prompt: str, maps: Mapping[int, np.ndarray], threshold: float):
    """Put saliency maps into the scene, in per cent of the most salient point of each slice.

    The volume covers the given slices only, at their place; that of an earlier prompt on the same volume is replaced.

    Args:
        maps: by slice number, (H, W) float32, 0 to 1; the slices must follow one another.
        threshold: 0 to 1; what is below is not shown.

    Returns:
        The scalar volume node, 8 bits.
    """
    node = saliencyOf(slices.volumeNode) or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetName(_("Saliency of '{prompt}'").format(prompt=prompt))
    node.SetNodeReferenceID(SALIENCY_OF, slices.volumeNode.GetID())
    block, corner = slices.slabs({k: np.asarray(each, np.float32) for k, each in maps.items()})
    slicer.util.updateVolumeFromArray(node, np.rint(np.clip(block, 0, 1) * 100).astype(np.uint8))
    matrix = slices.ijkToRAS.copy()
    matrix[:3, 3] = (slices.ijkToRAS @ (*corner, 1))[:3]
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(slices.volumeNode.GetTransformNodeID())
    node.SetSelectable(False)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_colourNode())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 100)
    setThreshold(node, threshold)
    return node


def saliencyOf(volumeNode):
    """The saliency map that is shown for a volume, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetNodeReferenceID(SALIENCY_OF) == volumeNode.GetID():
            return node
    return None


def setThreshold(saliencyNode, threshold: float) -> None:
    """Show only what is at least this salient, 0 to 1."""
    display = saliencyNode.GetDisplayNode()
    display.SetThreshold(max(1.0, 100 * threshold), 100)
    display.SetApplyThreshold(True)


def showSaliency(volumeNode, shown: bool, opacity: float = 0.5) -> None:
    """Show the saliency map of a volume as the foreground of the slice views that show the volume, or take it away."""
    node = saliencyOf(volumeNode)
    identifier = node.GetID() if node else None
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if shown and node and composite.GetBackgroundVolumeID() == volumeNode.GetID():
            composite.SetForegroundVolumeID(identifier)
            composite.SetForegroundOpacity(opacity)
        elif identifier and composite.GetForegroundVolumeID() == identifier:
            composite.SetForegroundVolumeID(None)


def _colourNode() -> str | None:
    node = slicer.mrmlScene.GetNodeByID(COLOURS) or slicer.mrmlScene.GetNodeByID("vtkMRMLColorTableNodeRainbow")
    return node.GetID() if node else None
