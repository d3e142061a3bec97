"""SAM's boxes and points as markups in the slice views, and their pixel coordinates on a slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from .removal import removeNode
from .sliceGeometry import SceneSlices
from .strings import _

KIND = "MedCLIPSAM.Kind"
"""Node attribute: "box", "positive" or "negative"."""
VOLUME = "MedCLIPSAM.Volume"
"""Node reference to the volume that a markup was made for."""
SEGMENT = "MedCLIPSAM.Segment"
"""Node attribute of a box: the segment that was outlined from it; absent if the user has added the box."""
MAX_THICKNESS = 1.5
"""Maximum thickness of a box, in slices. A thicker box was made for slices of another plane."""
BOX, POSITIVE, NEGATIVE = "box", "positive", "negative"
COLORS = {BOX: (1.0, 0.85, 0.2), POSITIVE: (0.2, 0.9, 0.3), NEGATIVE: (0.95, 0.25, 0.2)}


def showBoxes(slices: SceneSlices, k: int, boxes: np.ndarray, segmentId: str = "") -> list:
    """Show boxes of a slice as regions of interest one slice thick, and remove the previous boxes.

    Args:
        boxes: (B, 4), x0 y0 x1 y1 in pixels of the slice's image.
        segmentId: the segment that was outlined from them.
    """
    removeBoxes(slices.volumeNode)
    nodes = [addBox(slices, k, box, number) for number, box in enumerate(boxes, 1)]
    for node in nodes:
        node.SetAttribute(SEGMENT, segmentId)
    return nodes


def addBox(slices: SceneSlices, k: int, box: Sequence[float], number: int = 1):
    """Add a region of interest around a box (x0, y0, x1, y1) of a slice, with handles to drag."""
    x0, y0, x1, y1 = (float(value) for value in box)
    center = slices.toWorld(k, (x0 + x1) / 2, (y0 + y1) / 2)
    ends = (slices.toWorld(k, x1, (y0 + y1) / 2), slices.toWorld(k, (x0 + x1) / 2, y1), slices.toWorld(k + 0.5, 0, 0))
    starts = (center, center, slices.toWorld(k, 0, 0))
    halves = [end - start for end, start in zip(ends, starts)]
    matrix = np.eye(4)
    matrix[:3, 3] = center
    for axis, half in enumerate(halves):
        matrix[:3, axis] = half / np.linalg.norm(half)
    if np.linalg.det(matrix[:3, :3]) < 0:
        matrix[:3, 2] *= -1
    node = _newMarkup("vtkMRMLMarkupsROINode", _("Box {number}").format(number=number), BOX, slices.volumeNode)
    node.SetSize(*(2 * float(np.linalg.norm(half)) for half in halves))
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


def boxes(slices: SceneSlices) -> dict[int, np.ndarray]:
    """Return the current boxes of a volume: slice number -> (B, 4) x0 y0 x1 y1 in pixels, within the image.

    A box belongs to the slice that contains its center. A rotated box counts as the upright box around it. Boxes
    without an area inside the image, or made for slices of another plane, are left out.
    """
    height, width = slices.stack.image_shape
    found: dict[int, list[list[float]]] = {}
    for node in markupsOf(slices.volumeNode, BOX):
        size, matrix = node.GetSize(), vtk.vtkMatrix4x4()
        matrix.DeepCopy(node.GetObjectToWorldMatrix())
        toWorld = slicer.util.arrayFromVTKMatrix(matrix)
        signs = np.stack(np.meshgrid((-0.5, 0.5), (-0.5, 0.5), (-0.5, 0.5)), -1).reshape(-1, 3)
        corners = (toWorld @ np.column_stack([signs * size, np.ones(8)]).T)[:3].T
        pixels = np.array([slices.toImage(corner) for corner in corners])
        k = round(float(slices.toImage(toWorld[:3, 3])[0]))
        x0, y0 = np.clip(pixels[:, 1:].min(0), 0, (width, height))
        x1, y1 = np.clip(pixels[:, 1:].max(0), 0, (width, height))
        thickness = float(np.ptp(pixels[:, 0])) if len(slices) > 1 else 1.0
        if 0 <= k < len(slices) and x1 - x0 >= 1 and y1 - y0 >= 1 and thickness <= MAX_THICKNESS:
            found.setdefault(k, []).append([x0, y0, x1, y1])
    return {k: np.array(rows, np.float32) for k, rows in found.items()}


def segmentsOfBoxes(volumeNode) -> set[str]:
    """Return the ids of the existing segments that the boxes of a volume were made for."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    present = {segment for node in nodes for segment in node.GetSegmentation().GetSegmentIDs()}
    return {node.GetAttribute(SEGMENT) for node in markupsOf(volumeNode, BOX)} & present


def removeBoxes(volumeNode) -> None:
    """Remove the boxes of a volume from the scene."""
    for node in markupsOf(volumeNode, BOX):
        removeNode(node)


def removeMarkups(volumeNode) -> None:
    """Remove the boxes and the point lists of a volume from the scene."""
    removeBoxes(volumeNode)
    for node in (*markupsOf(volumeNode, POSITIVE), *markupsOf(volumeNode, NEGATIVE)):
        removeNode(node)


def pointList(volumeNode, kind: str):
    """Return the list of the positive or negative points of a volume, which is created if there is none."""
    found = markupsOf(volumeNode, kind)
    if found:
        return found[0]
    name = _("Inside") if kind == POSITIVE else _("Outside")
    return _newMarkup("vtkMRMLMarkupsFiducialNode", name, kind, volumeNode)


def lastPlaced(pointList) -> np.ndarray:
    """Return the world RAS (3,), mm, of the last point with a position; the preview point at the mouse has none."""
    placed = slicer.vtkMRMLMarkupsNode.PositionDefined
    numbers = range(pointList.GetNumberOfControlPoints())
    last = max(number for number in numbers if pointList.GetNthControlPointPositionStatus(number) == placed)
    return np.array(pointList.GetNthControlPointPositionWorld(last))


def points(slices: SceneSlices, k: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the points on a slice: (P, 2) float32 x y in pixels, (P,) int32 1 inside or 0 outside, and marks."""
    coords, labels, marks = [], [], []
    for node, index, label in _placedPoints(slices.volumeNode):
        world = node.GetNthControlPointPositionWorld(index)
        number, x, y = slices.toImage(world)
        if round(number) == k:
            coords.append((x, y))
            labels.append(label)
            marks.append(mark(label, world))
    return np.array(coords, np.float32).reshape(-1, 2), np.array(labels, np.int32), marks


def mark(label: int, world: Sequence[float]) -> str:
    """Return the mark of a point, stored with the segment that it corrected: "+" or "-", and world RAS in mm."""
    return ("+" if label else "-") + ",".join(f"{value:.2f}" for value in world)


def removePoints(volumeNode, marks: set[str]) -> None:
    """Remove the points with these marks."""
    for node, index, label in reversed(list(_placedPoints(volumeNode))):
        if mark(label, node.GetNthControlPointPositionWorld(index)) in marks:
            node.RemoveNthControlPoint(index)


def clearPoints(volumeNode) -> None:
    """Remove all points of a volume, but keep the lists."""
    for kind in (POSITIVE, NEGATIVE):
        for node in markupsOf(volumeNode, kind):
            node.RemoveAllControlPoints()


def markupsOf(volumeNode, kind: str) -> list:
    """List the markups of a kind that were made for a volume."""
    className = "vtkMRMLMarkupsROINode" if kind == BOX else "vtkMRMLMarkupsFiducialNode"
    return [
        node
        for node in slicer.util.getNodesByClass(className)
        if node.GetAttribute(KIND) == kind and node.GetNodeReferenceID(VOLUME) == volumeNode.GetID()
    ]


def _placedPoints(volumeNode) -> Iterator[tuple[Any, int, int]]:
    """Yield the point list, the index in it, and the label of every point of a volume that has a position."""
    for kind, label in ((POSITIVE, 1), (NEGATIVE, 0)):
        for node in markupsOf(volumeNode, kind):
            for index in range(node.GetNumberOfControlPoints()):
                if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined:
                    yield node, index, label


def _newMarkup(className: str, name: str, kind: str, volumeNode):
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    node.SetAttribute(KIND, kind)
    node.SetNodeReferenceID(VOLUME, volumeNode.GetID())
    node.SetControlPointLabelFormat("")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display is not None:
        display.SetColor(*COLORS[kind])
        display.SetSelectedColor(*COLORS[kind])
        if kind == BOX:
            display.SetFillOpacity(0.0)
            display.SetHandlesInteractive(True)
            display.SetRotationHandleVisibility(False)
            display.SetPropertiesLabelVisibility(False)
    return node
