"""Maps over the image, each a separate volume: saliency, and the uncertainty of a vote and of an ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util

from .removal import removeNode
from .sliceGeometry import SceneSlices, contentNow, holdsStill, ijkToRAS
from .strings import _, nodeName

SALIENCY, VOTE, UNCERTAINTY = MAPS = "MedCLIPSAM.SaliencyOf", "MedCLIPSAM.VoteOf", "MedCLIPSAM.UncertaintyOf"
"""Roles of maps, which are the node references from a map to its volume. VOTE shows where SAM's masks disagree,
UNCERTAINTY where an ensemble is unsure. A map is never stored as the user's foreground."""
FOREGROUND, FOREGROUND_OPACITY = "MedCLIPSAM.Foreground", "MedCLIPSAM.ForegroundOpacity"
"""Node reference of a slice composite node to the foreground that a map has replaced, and attribute with its opacity.

A composite node has the attribute while its foreground is set by this module.
"""
CONTENT, CORNER = "MedCLIPSAM.Content", "MedCLIPSAM.Corner"
"""Attributes of a map: the image that it was made for, see `contentNow`; and its first voxel, i j k, in the volume."""
MAP_OPACITY = 0.5
SALIENCY_FROM = 0.3
"""Initial minimum of the saliency that is shown, 0 to 1."""
MIN_UNCERTAINTY = 0.1
"""Minimum of the uncertainty that is shown, 0 to 1."""
COLORS = "vtkMRMLColorTableNodeFileInferno.txt"


def writeSaliency(slices: SceneSlices, prompt: str, maps: Mapping[int, np.ndarray], threshold: float = SALIENCY_FROM):
    """Add saliency maps to the scene, in percent of the most salient point of each slice.

    The volume covers the given slices only. It replaces that of an earlier prompt on the same volume.

    Args:
        maps: (H, W) float32, 0 to 1, by slice number; the slices must be consecutive.
        threshold: 0 to 1; lower values are not shown.

    Returns:
        The scalar volume node, 8 bits.
    """
    name = _("Saliency of '{prompt}' in '{volume}'").format(prompt=prompt, volume=slices.volumeNode.GetName())
    return _writeSlices(slices, SALIENCY, name, maps, threshold)


def writeVote(slices: SceneSlices, prompt: str, maps: Mapping[int, np.ndarray]):
    """Add the uncertainty of a vote of masks to the scene like `writeSaliency`, in percent: 0 where all masks agree."""
    name = _("Uncertainty of the vote on '{prompt}' in '{volume}'").format(
        prompt=prompt, volume=slices.volumeNode.GetName()
    )
    return _writeSlices(slices, VOTE, name, maps, MIN_UNCERTAINTY)


def writeUncertainty(volumeNode, uncertainty: np.ndarray):
    """Add an uncertainty map of a whole volume to the scene, in percent.

    Args:
        uncertainty: (K, J, I) float32, 0 to 1, on the volume's grid.

    Returns:
        The scalar volume node, 8 bits; a previous one is replaced.
    """
    name = _("Uncertainty in '{volume}'").format(volume=volumeNode.GetName())
    return _writeMap(volumeNode, UNCERTAINTY, name, uncertainty, (0, 0, 0), MIN_UNCERTAINTY, contentNow(volumeNode))


def _writeSlices(slices: SceneSlices, role: str, name: str, maps: Mapping[int, np.ndarray], threshold: float):
    """Make or replace the map of a role on the given slices of a volume."""
    block, corner = slices.slabs({k: np.asarray(values, np.float32) for k, values in maps.items()})
    return _writeMap(slices.volumeNode, role, name, block, corner, threshold, slices.content)


def _writeMap(
    volumeNode, role: str, name: str, block: np.ndarray, corner: Sequence[int], threshold: float, content: str
):
    """Make or replace the map of a role for a volume: `block` is 0 to 1, `corner` its first voxel in the volume."""
    node, name = mapOf(volumeNode, role), nodeName(name)
    node = node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    if name not in (node.GetName(), (node.GetName() or "").rpartition("_")[0]):
        node.SetName(_freeName(name))
    node.SetNodeReferenceID(role, volumeNode.GetID())
    slicer.util.updateVolumeFromArray(node, np.rint(np.clip(block, 0, 1) * 100).astype(np.uint8))
    node.SetAttribute(CONTENT, content)
    node.SetAttribute(CORNER, " ".join(map(str, corner)))
    followVolume(volumeNode)
    node.SetHideFromEditors(True)  # not an input of this or another module
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_colorNode())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 100)
    setThreshold(node, threshold)
    return node


def _freeName(name: str) -> str:
    """Return a name that no node has, because Slicer overwrites files when it saves hidden nodes by their names."""
    scene = slicer.mrmlScene
    return name if scene.GetFirstNodeByName(name) is None else scene.GenerateUniqueName(name)


def removeMaps(volumeNode, roles: Sequence[str] = MAPS) -> None:
    """Remove the maps of an earlier run from a volume, by default those of all roles."""
    maps = [node for role in roles if (node := mapOf(volumeNode, role)) is not None]
    _hideMaps(lambda shown, _composite: shown in maps)
    for node in maps:
        removeNode(node)


def mapOf(volumeNode, role: str):
    """Return the map of a role for a volume, or None."""
    if volumeNode is None:
        return None
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetNodeReferenceID(role) == volumeNode.GetID():
            return node
    return None


def mapShown(volumeNode, role: str):
    """Return the map of a role for the image that a volume holds now; None if there is none for this image."""
    node = mapOf(volumeNode, role)
    return node if node is not None and holdsStill(volumeNode, node.GetAttribute(CONTENT) or "") else None


def mappedVolumes() -> list:
    """List the volumes that have maps."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    found = (node.GetNodeReference(role) for node in nodes for role in MAPS)
    return [volume for volume in dict.fromkeys(found) if volume is not None]


def followVolume(volumeNode) -> None:
    """Move the maps of a volume to its position, under its transform."""
    for node in (mapOf(volumeNode, role) for role in MAPS):
        if node is not None and node.GetAttribute(CORNER):
            matrix = ijkToRAS(volumeNode)
            matrix[:3, 3] = (matrix @ (*map(int, node.GetAttribute(CORNER).split()), 1))[:3]
            node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
            node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())


def setThreshold(mapNode, threshold: float) -> None:
    """Show only values of a map at or above a threshold, 0 to 1."""
    display = mapNode.GetDisplayNode()
    display.SetThreshold(max(1.0, 100 * threshold), 100)
    display.SetApplyThreshold(True)


def showMap(volumeNode, role: str, shown: bool, opacity: float | None = None) -> None:
    """Show a map of a volume as the foreground of the slice views that show the volume, or hide all maps of the role.

    Args:
        volumeNode: None if there is no volume; no map is then shown.
        opacity: 0 to 1. If None, a map that was not shown gets MAP_OPACITY, and a map that is shown keeps its opacity.
    """
    if not shown:
        _hideMaps(lambda node, _composite: node.GetNodeReferenceID(role) is not None)
        return
    node = mapShown(volumeNode, role)
    if node is None:
        return
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetBackgroundVolumeID() == volumeNode.GetID():
            if composite.GetForegroundVolumeID() != node.GetID():
                _keepForeground(composite)
                composite.SetForegroundVolumeID(node.GetID())
                composite.SetForegroundOpacity(MAP_OPACITY)
            if opacity is not None:
                composite.SetForegroundOpacity(opacity)


def hideStrayMaps() -> None:
    """Restore the user's foreground in views that show a map over another volume or image than its own.

    A map that the user has laid over another volume, such as a registered series, is kept.
    """

    def isStray(node, composite) -> bool:
        below = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        own = composite.GetAttribute(FOREGROUND_OPACITY) is None or any(mapShown(below, role) is node for role in MAPS)
        return not own

    _hideMaps(isStray)


def _hideMaps(isHidden: Callable[[Any, Any], bool]) -> None:
    """Restore the user's foreground in views that show certain maps.

    Args:
        isHidden: takes a map that is the foreground of a view, and the view's composite node; returns whether to hide
            the map.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        if _isMap(node) and isHidden(node, composite):
            _bringForegroundBack(composite)


def _isMap(node) -> bool:
    return node is not None and any(node.GetNodeReferenceID(role) for role in MAPS)


def _keepForeground(composite) -> None:
    """Store the user's foreground, such as a PET; a map is not stored."""
    isMap = _isMap(slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or ""))
    if not isMap or composite.GetAttribute(FOREGROUND_OPACITY) is None:
        composite.SetNodeReferenceID(FOREGROUND, None if isMap else composite.GetForegroundVolumeID())
        composite.SetAttribute(FOREGROUND_OPACITY, str(composite.GetForegroundOpacity()))


def _bringForegroundBack(composite) -> None:
    foreground, opacity = composite.GetNodeReference(FOREGROUND), composite.GetAttribute(FOREGROUND_OPACITY)
    composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
    if opacity:
        composite.SetForegroundOpacity(float(opacity))
    composite.SetNodeReferenceID(FOREGROUND, None)
    composite.RemoveAttribute(FOREGROUND_OPACITY)


def _colorNode() -> str | None:
    node = slicer.mrmlScene.GetNodeByID(COLORS) or slicer.mrmlScene.GetNodeByID("vtkMRMLColorTableNodeRainbow")
    return node.GetID() if node else None
