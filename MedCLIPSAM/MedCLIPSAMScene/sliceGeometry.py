"""A volume node as the engine's slices, and points between the scene (RAS, mm) and pixels of these slices."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import Geometry, SliceStack, Volume
from MedCLIPSAMLib.volumes.geometry import check_spacing
from MedCLIPSAMLib.volumes.slices import nearest_axes
from MedCLIPSAMLib.volumes.window import to_uint8

from .modality import isPET
from .sequences import itemOf
from .strings import _
from .volumeNotes import VolumeNotes

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLANE_OF_AXIS = ("sagittal", "coronal", "axial")
"""The plane whose slices follow one another along R, A and S."""
FALLING = 0.5
"""Minimum decrease of the gray value, 0 to 1, along a table that runs from light to dark."""
GRAY = 0.02
"""Maximum difference of red, green and blue, 0 to 1, of a gray value."""
STILL = 0.25
"""Maximum distance, in voxels, of a volume from where it was that counts as unmoved."""
SAMPLED = 4096
"""Voxels by whose checksum an image is told from another of the same sum, about."""
REMEMBERED = 64
"""Images whose sums are kept."""
_sums: dict[int, int] = {}
"""Sum of all voxels, by the time of the last change of an image."""
FLAT = 1e-3
"""Maximum volume of three unit voxel axes that lie in one plane, or nearly so."""


def transformToWorld(node) -> np.ndarray:
    """Return the 4 x 4 matrix from a node's coordinates to world RAS.

    Raises:
        InputError: the node is under a transform that is not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise InputError(
            _("'{name}' is under the non-linear transform '{transform}'.").format(
                name=node.GetName(), transform=transform.GetName()
            ),
            _("Harden the transform on it (Transforms module), or take it out of the transform."),
        )
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def ijkToRAS(volumeNode) -> np.ndarray:
    """Return the 4 x 4 matrix from voxel indices, from 0 on, to the volume node's own RAS, without its transform.

    The node's own matrix is from the indices of VTK, which in an image that was cropped by VTK begin elsewhere.
    """
    matrix, image = vtk.vtkMatrix4x4(), volumeNode.GetImageData()
    volumeNode.GetIJKToRASMatrix(matrix)
    toRAS = slicer.util.arrayFromVTKMatrix(matrix)
    if image is not None:
        toRAS[:3, 3] = (toRAS @ (*image.GetExtent()[::2], 1))[:3]
    return toRAS


def extentOf(volumeNode) -> tuple[int, int, int, int, int, int]:
    """Return the first and the last voxel of a volume along I, J and K."""
    i, j, k = volumeNode.GetImageData().GetDimensions()
    return 0, i - 1, 0, j - 1, 0, k - 1


Placement = tuple[tuple[int, ...], np.ndarray, str | None]
"""Extent, the matrix from voxels to the volume's own RAS, and the ID of the transform it is under."""


def placementOf(volumeNode) -> Placement:
    """Return where the voxels of a volume are, for `requirePlacement`."""
    extent = extentOf(volumeNode) if volumeNode.GetImageData() is not None else ()
    return extent, ijkToRAS(volumeNode), volumeNode.GetTransformNodeID()


def requirePlacement(volumeNode, before: Placement, remedy: str) -> None:
    """Check that the voxels of a volume are where they were, but for a jitter as of a tracker.

    A transform that moves it together with its segmentations may have changed.

    Raises:
        InputError: its voxel grid, or the transform that it is under, is another one.
    """
    now = placementOf(volumeNode)
    if now[2] != before[2] or not isSameGrid(now, before):
        raise InputError(
            _("'{name}' was moved meanwhile, or has another size.").format(name=volumeNode.GetName()),
            _("Nothing was written: {remedy}.").format(remedy=remedy),
        )


def isSameGrid(one: Placement, other: Placement) -> bool:
    """Tell whether two voxel grids are of one size and in one place, but for a jitter as of a tracker."""
    return one[0] == other[0] and drift(np.linalg.pinv(other[1]) @ one[1] - np.eye(4), one[0]) <= STILL


def drift(change: np.ndarray, extent: Sequence[int]) -> float:
    """Compute the largest change of an index by a matrix, 4 x 4, in the corners of an extent."""
    corners = np.array(np.meshgrid(*zip(extent[::2], extent[1::2]))).reshape(3, -1)
    return float(np.abs(change[:3, :3] @ corners + change[:3, 3:]).max())


def sceneVolume(volumeNode) -> Volume:
    """Make the engine's volume of a scalar or RGB volume node, in world coordinates; its voxels are not copied.

    Raises:
        InputError: no volume, no voxels, several components that are not RGB, a non-linear transform, or an invalid
            geometry.
    """
    if volumeNode is None:
        raise InputError(_("No volume was chosen."), _("Choose one, or load one from Sample Data."))
    if not isinstance(volumeNode, slicer.vtkMRMLVolumeNode):
        raise InputError(
            _("Expected a volume node, got {value!r}.").format(value=volumeNode),
            _("Give the node itself: slicer.util.getNode finds it by its name."),
        )
    name = volumeNode.GetName()
    voxels = voxelsOf(volumeNode)
    if voxels is None:
        raise InputError(_("The volume '{name}' has no voxels.").format(name=name), _("Load it again."))
    if voxels.ndim == 4 and voxels.shape[3] == 4 and voxels.dtype == np.uint8:
        voxels = voxels[..., :3]  # RGBA
    if voxels.ndim != 3 and not (voxels.ndim == 4 and voxels.shape[3] == 3 and voxels.dtype == np.uint8):
        raise InputError(
            _("The volume '{name}' has {count} components of type {type} per voxel.").format(
                name=name, count=voxels.shape[-1], type=voxels.dtype
            ),
            _("Only scalar and 8-bit RGB volumes can be segmented: extract one component (Vector to Scalar Volume)."),
        )
    matrix = RAS_TO_LPS @ transformToWorld(volumeNode) @ ijkToRAS(volumeNode)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    check_spacing(tuple(spacing.tolist()), f"'{name}'")
    axes = matrix[:3, :3] / spacing
    if not np.isfinite(matrix).all() or abs(np.linalg.det(axes)) < FLAT:
        raise InputError(
            _("The voxel axes of '{name}' lie in one plane, or its position is not finite.").format(name=name),
            _("Correct its directions or its transform (Volumes and Transforms modules), or load it again."),
        )
    direction = _nearestRotation(axes)
    geometry = Geometry(tuple(matrix[:3, 3].tolist()), tuple(spacing.tolist()), tuple(direction.ravel().tolist()))
    return Volume(voxels, geometry, name)


def voxelsOf(volumeNode) -> np.ndarray | None:
    """View the voxels of a volume node of any class, (K, J, I) or (K, J, I, components); None while it has none."""
    image = volumeNode.GetImageData()
    data = image.GetPointData() if image is not None else None
    scalars = data and (data.GetScalars() or data.GetTensors())
    if scalars is None or not image.GetNumberOfPoints() or scalars.GetNumberOfTuples() != image.GetNumberOfPoints():
        return None
    components = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1] + ((components,) if components > 1 else ()))


def contentNow(volumeNode) -> str:
    """Describe the image that a volume node holds now, so that it is told from others that it holds before and after.

    A sequence shows one item after another; a stream, a filter or the user writes other voxels into the node. That
    transparency has changed does not count.
    """
    voxels, item = voxelsOf(volumeNode), itemOf(volumeNode)
    if voxels is None:
        return "none"
    color = voxels[..., :3] if voxels.ndim > 3 else voxels
    some = color.reshape(-1, *color.shape[3:])
    some = some[:: len(some) // SAMPLED | 1]  # an odd step goes through all columns
    changed = volumeNode.GetImageData().GetMTime()  # no two changes of anything have the same
    if changed not in _sums:
        if len(_sums) > REMEMBERED:
            _sums.clear()
        _sums[changed] = _sum(color)
    text = f"{voxels.shape[:3]} {zlib.crc32(some.tobytes()):08x};{_sums[changed]:016x};"
    return text + (f"{item.value};" if item else "")


def _sum(voxels: np.ndarray) -> int:
    """Sum up the memory of voxels in words of 64 bits, which takes a tenth of the time of a checksum."""
    whole = np.ascontiguousarray(voxels).reshape(-1).view(np.uint8)
    words = whole[: whole.size // 8 * 8].view(np.uint64)
    return (int(words.sum()) + int(whole[8 * words.size :].sum())) % 2**64


def holdsStill(volumeNode, content: str) -> bool:
    """Tell whether a volume node holds an image, by its content; to join a sequence, or leave it, changes none."""
    now, then = (set(text.split(";")) for text in (contentNow(volumeNode), content))
    return now <= then or then <= now  # maps of older scenes have no sum


class SceneSlices:
    """The slices of a volume node along one plane: images for the models, and conversion between pixels and RAS.

    Args:
        volumeNode: scalar or RGB volume; a linear transform on it is followed.
        plane: "axial", "coronal" or "sagittal", the volume's voxel planes nearest to these in world coordinates.

    Attributes:
        window: (low, high) that the models see as black and white.
        inverted: whether they see low intensities light, as the views show them. A PET is always seen upright.
        item: of a sequence, that the volume shows now; None where it is in none.
        content: of the image; see `contentNow`.

    Raises:
        InputError: see `sceneVolume`, and `volumes.SliceStack`.
    """

    def __init__(self, volumeNode, plane: str = "axial") -> None:
        self.volumeNode, self.plane = volumeNode, plane
        volume, window = sceneVolume(volumeNode), _displayWindow(volumeNode)
        self.stack = SliceStack(volume, plane, window)
        self.ijkToRAS = ijkToRAS(volumeNode)
        self._placement, self.item = placementOf(volumeNode), itemOf(volumeNode)
        self.content = contentNow(volumeNode)
        self.ijkToWorld = transformToWorld(volumeNode) @ self.ijkToRAS
        axes = self.ijkToWorld[:3, :3] / np.linalg.norm(self.ijkToWorld[:3, :3], axis=0)
        self._levels = np.arange(256, dtype=np.uint8)  # shown for those of the stack's images
        if volume.is_rgb and window is not None:
            self._levels = to_uint8(self._levels, *window)
        self.window = window or self.stack.window
        self.inverted = not volume.is_rgb and _isInverted(volumeNode) and not isPET(volumeNode)
        if self.inverted:
            self._levels = self._levels[::-1]
        self._notes = VolumeNotes(volumeNode, axes, self.window, self.inverted, self.item)

    def __len__(self) -> int:
        return len(self.stack)

    def requireUnmoved(self) -> None:
        """Check that the volume is where it was when this was made; see `requirePlacement`."""
        requirePlacement(self.volumeNode, self._placement, _("start again"))

    def image(self, k: int) -> np.ndarray:
        """Return slice k as the models see it, uint8 (H, W, 3), and check it for `notes`."""
        image = self._levels[self.stack.image(k)]
        self._notes.look(self.stack.voxels(k), image)
        return image

    @property
    def notes(self) -> list[str]:
        """Sentences for the user on the volume and on the slices whose images were returned."""
        notes = self._notes.sentences()
        if not holdsStill(self.volumeNode, self.content):
            text = _("The image of '{name}' has changed during the run: the result may not fit what it shows now.")
            notes.append(text.format(name=self.volumeNode.GetName()))
        return notes

    def toWorld(self, k: float, x: float, y: float) -> np.ndarray:
        """Compute world RAS (3,), mm, of a point of the image of slice k; see `SliceStack.index_at`."""
        return (self.ijkToWorld @ (*self.stack.index_at(k, x, y), 1))[:3]

    def toImage(self, world) -> tuple[float, float, float]:
        """Compute (k, x, y) of a point in world RAS, mm."""
        return self.stack.image_at((np.linalg.inv(self.ijkToWorld) @ (*world, 1))[:3])

    def slabs(self, masks: Mapping[int, np.ndarray]) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Join masks of slices to one block of the voxel grid: (K', J', I') and its first voxel (i, j, k)."""
        along = "KJI".index(self.stack.source_axis)
        places = [self.stack.source_index(k) for k in masks]
        first, shape = min(places), list(self.stack.volume.shape)
        shape[along] = max(places) - first + 1
        block = np.zeros(shape, next(iter(masks.values())).dtype)
        for place, (k, mask) in zip(places, masks.items()):
            at = [slice(None)] * 3
            at[along] = slice(place - first, place - first + 1)
            block[tuple(at)] = self.stack.to_slab(k, mask)
        i, j, k = (first if axis == 2 - along else 0 for axis in range(3))
        return block, (i, j, k)


def shownSlice(volumeNode, sliceNode) -> tuple[str, int]:
    """Return the plane and the number of the volume's slice that a slice view shows.

    Where the view is oblique to the volume, it is the slice in the middle of the view, where the user looks; where that
    is outside of the volume, beside it.

    Raises:
        InputError: the view shows no slice of the volume. See also `sceneVolume`.
    """
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(sliceNode.GetSliceToRAS())
    toWorld = slicer.util.arrayFromVTKMatrix(matrix)
    normal, origin = toWorld[:3, 2], (toWorld @ (*sliceNode.GetXYZOrigin()[:2], 0, 1))[:3]
    volume = sceneVolume(volumeNode)
    affine = transformToWorld(volumeNode) @ ijkToRAS(volumeNode)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axis = int(np.argmax(np.abs(normal @ axes)))
    slices = SceneSlices(volumeNode, PLANE_OF_AXIS[nearest_axes(volume.geometry.cosines).index(axis)])
    index = (np.linalg.inv(affine) @ (*origin, 1))[:3].clip(0, np.array(volume.shape[::-1]) - 1)
    index[axis] += normal @ (origin - (affine @ (*index, 1))[:3]) / (normal @ affine[:3, axis])
    number = round(slices.stack.image_at(index.tolist())[0])
    if not 0 <= number < len(slices):
        raise InputError(
            _("The view '{view}' shows no slice of '{name}'.").format(
                view=sliceNode.GetName(), name=volumeNode.GetName()
            ),
            _("Move the view into the volume, or choose another view."),
        )
    return slices.plane, number


def _displayWindow(volumeNode) -> tuple[float, float] | None:
    """Return (low, high) that the slice views show as black and white: the models see what the user sees."""
    display = volumeNode.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (low, high) if low < high else None


def _isInverted(volumeNode) -> bool:
    """Tell whether the slice views show low intensities light and high ones dark.

    The table of the display is that of its color node, reversed where the display is inverted (Slicer 5.10 and later).
    Only one that begins and ends in gray has a direction; one of colors is inverted where the display is.
    """
    display = volumeNode.GetDisplayNode()
    table = display.GetLookupTable() if display is not None and display.IsA("vtkMRMLScalarVolumeDisplayNode") else None
    if table is None:
        return False
    ends, color = [], [0.0] * 3
    for value in table.GetRange():
        table.GetColor(value, color)
        ends.append(list(color))
    if all(max(end) - min(end) < GRAY for end in ends):
        return bool(ends[0][0] - ends[1][0] > FALLING)
    return bool(getattr(display, "GetInvertDisplayScalarRange", lambda: False)())


def _nearestRotation(matrix: np.ndarray) -> np.ndarray:
    """Compute the orthonormal matrix nearest to one that may be sheared by a transform; reflections are kept."""
    left, _singular, right = np.linalg.svd(matrix)
    return left @ right
