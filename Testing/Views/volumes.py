"""Volumes in every kind of geometry, with a bright block whose position in the world was worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import slicer
import slicer.util
from MedCLIPSAMScene.sliceGeometry import SceneSlices

SHAPE = 9, 60, 40
"""Shape of the volumes: voxels along k, j, i."""
BLOCK = np.s_[4:5, 30:42, 20:28]
"""The bright voxels; their middle is the voxel (i, j, k) = (23.5, 35.5, 4), of the volumes 1.5, 1 and 4 mm apart."""
DARK, BRIGHT = 60, 200


@dataclass(frozen=True)
class Geometry:
    """The position of a volume, and the ends of its block on the axial slice through the block's center.

    Attributes:
        matrix: IJK to RAS without a transform.
        move: translation in mm of the transform that the volume is under; zero means no transform.
        middle: center of the block in world RAS, mm.
        voxel: position of the voxel (21, 39, 4) in world RAS, mm.
        along: direction (R, A) of i.
        inside: steps (R, A) in mm from the center that are still in the block.
        outside: steps (R, A) in mm from the center that are outside the block.
    """

    matrix: tuple[tuple[float, ...], ...]
    middle: tuple[float, float, float]
    voxel: tuple[float, float, float]
    along: tuple[float, float]
    inside: tuple[tuple[float, float], ...]
    outside: tuple[tuple[float, float], ...]
    move: tuple[float, float, float] = (0, 0, 0)

    def index(self, world: np.ndarray) -> np.ndarray:
        """Return the voxel indices (i, j, k) of points in the world, (..., 3)."""
        matrix = np.array(self.matrix)
        return (np.asarray(world) - self.move - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T


# The block is 12 mm long along i and j. Along i it ends 6 mm from its middle, which is (4.8, 3.6) in the first volume.
TURNED_IN = (4.0, 3.0), (-4.0, -3.0), (-3.0, 4.0), (3.0, -4.0), (0.8, 5.6)
TURNED_OUT = (5.6, 4.2), (-5.6, -4.2), (-4.2, 5.6), (4.2, -5.6), (8.0, 0.0)
GEOMETRIES = {
    # i goes along (0.8, 0.6, 0) and j along (-0.6, 0.8, 0).
    # R = 10 + 23.5 x 1.2 - 35.5 x 0.6, A = -30 + 23.5 x 0.9 + 35.5 x 0.8, S = 5 + 4 x 4
    "turned": Geometry(
        ((1.2, -0.6, 0, 10), (0.9, 0.8, 0, -30), (0, 0, 4, 5), (0, 0, 0, 1)),
        (16.9, 19.55, 21),
        (11.8, 20.1, 21),
        (0.8, 0.6),
        TURNED_IN,
        TURNED_OUT,
    ),
    # j goes along (0, 0.8, 0.6) and k along (0, -0.6, 0.8): an axial slice cuts the 4 mm of k in 4 / 0.6 mm along A.
    # R = -30 + 23.5 x 1.5, A = -20 + 35.5 x 0.8 - 4 x 2.4, S = -10 + 35.5 x 0.6 + 4 x 3.2
    "tilted": Geometry(
        ((1.5, 0, 0, -30), (0, 0.8, -2.4, -20), (0, 0.6, 3.2, -10), (0, 0, 0, 1)),
        (5.25, -1.2, 24.1),
        (1.5, 1.6, 26.2),
        (1, 0),
        ((5, 0), (-5, 0), (0, 2.3), (0, -2.3), (4.5, -2)),
        ((7, 0), (-7, 0), (0, 4.4), (0, -4.4), (0, 5.5)),
    ),
    # All three axes go the other way: left-handed.
    # R = 30 - 23.5 x 1.5, A = 40 - 35.5, S = 20 - 4 x 4
    "flipped": Geometry(
        ((-1.5, 0, 0, 30), (0, -1, 0, 40), (0, 0, -4, 20), (0, 0, 0, 1)),
        (-5.25, 4.5, 4),
        (-1.5, 1, 4),
        (-1, 0),
        ((5, 0), (-5, 0), (0, 5), (0, -5), (-4.5, 4.5)),
        ((7, 0), (-7, 0), (0, 7), (0, -7), (-7, 7)),
    ),
    # The first one, moved by a transform of the scene.
    "moved": Geometry(
        ((1.2, -0.6, 0, 10), (0.9, 0.8, 0, -30), (0, 0, 4, 5), (0, 0, 0, 1)),
        (28.9, 11.55, 24),
        (23.8, 12.1, 24),
        (0.8, 0.6),
        TURNED_IN,
        TURNED_OUT,
        (12, -8, 3),
    ),
}
every_geometry = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def add_volume(geometry: Geometry):
    """The volume with the block, shown in the Red view in the window 0 to 255."""
    array = np.full(SHAPE, DARK, np.int16)
    array[BLOCK] = BRIGHT
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "block")
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.array(geometry.matrix)))
    if any(geometry.move):
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        matrix = np.eye(4)
        matrix[:3, 3] = geometry.move
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
    return show(node)


def show(volume):
    """Show a volume in the Red view in the window 0 to 255."""
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").SetBackgroundVolumeID(volume.GetID())
    return volume


def bright(slices: SceneSlices) -> tuple[int, np.ndarray]:
    """Return the number of the slice with the block, and the mask of the bright pixels of its image."""
    masks = {k: slices.stack.image(k)[..., 0] > (DARK + BRIGHT) / 2 for k in range(len(slices))}
    (k,) = [k for k, mask in masks.items() if mask.any()]
    return k, masks[k]
