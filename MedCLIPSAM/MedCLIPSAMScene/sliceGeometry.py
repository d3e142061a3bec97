"""A volume node as slices for the engine, and conversion between the scene (RAS, mm) and pixels of these slices."""

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
"""The plane of slices that are stacked along R, A and S."""
FALLING = 0.5
"""Minimum decrease of the gray value, 0 to 1, along a color table that runs from light to dark."""
GRAY = 0.02
"""Maximum difference between red, green and blue, 0 to 1, of a color that counts as gray."""
STILL = 0.25
"""Maximum displacement, in voxels, of a volume that counts as unmoved."""
SAMPLED = 4096
"""Approximate number of voxels in the checksum that tells images with the same sum apart."""
REMEMBERED = 64
"""Maximum number of images whose sums are kept."""
_sums: dict[int, int] = {}
"""Modification time of an image -> sum of all its voxels."""
FLAT = 1e-3
"""Maximum determinant of three unit voxel axes that count as lying in one plane."""


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
    """Return the 4 x 4 matrix from voxel indices, starting at 0, to the volume node's own RAS, without its transform.

    The node's own matrix is for VTK's indices, which do not start at 0 in an image that was cropped by VTK.
    """
    matrix, image = vtk.vtkMatrix4x4(), volumeNode.GetImageData()
    volumeNode.GetIJKToRASMatrix(matrix)
    toRAS = slicer.util.arrayFromVTKMatrix(matrix)
    if image is not None:
        toRAS[:3, 3] = (toRAS @ (*image.GetExtent()[::2], 1))[:3]
    return toRAS


def extentOf(volumeNode) -> tuple[int, int, int, int, int, int]:
    """Return the extent of a volume: the first and the last voxel along I, J and K."""
    i, j, k = volumeNode.GetImageData().GetDimensions()
    return 0, i - 1, 0, j - 1, 0, k - 1


Placement = tuple[tuple[int, ...], np.ndarray, str | None]
"""Extent, 4 x 4 matrix from voxels to the volume's own RAS, and ID of the transform that it is under."""


def placementOf(volumeNode) -> Placement:
    """Return the placement of a volume's voxels, for `requirePlacement`."""
    extent = extentOf(volumeNode) if volumeNode.GetImageData() is not None else ()
    return extent, ijkToRAS(volumeNode), volumeNode.GetTransformNodeID()


def requirePlacement(volumeNode, before: Placement, remedy: str) -> None:
    """Check that the voxels of a volume were not moved, except for a jitter such as that of a tracker.

    The values of the transform that the volume is under may have changed, because its segmentations move with it.

    Args:
        remedy: what to do otherwise, for the message.

    Raises:
        InputError: the volume has another voxel grid, or is under another transform.
    """
    now = placementOf(volumeNode)
    if now[2] != before[2] or not isSameGrid(now, before):
        raise InputError(
            _("'{name}' was moved meanwhile, or has another size.").format(name=volumeNode.GetName()),
            _("Nothing was written: {remedy}.").format(remedy=remedy),
        )


def isSameGrid(one: Placement, other: Placement) -> bool:
    """Return whether two voxel grids have the same size and position, except for a jitter such as that of a tracker."""
    return one[0] == other[0] and drift(np.linalg.pinv(other[1]) @ one[1] - np.eye(4), one[0]) <= STILL


def drift(change: np.ndarray, extent: Sequence[int]) -> float:
    """Compute the largest change of an index by a 4 x 4 matrix at the corners of an extent."""
    corners = np.array(np.meshgrid(*zip(extent[::2], extent[1::2]))).reshape(3, -1)
    return float(np.abs(change[:3, :3] @ corners + change[:3, 3:]).max())


def sceneVolume(volumeNode) -> Volume:
    """Make an engine volume, in world coordinates, from a scalar or RGB volume node; its voxels are not copied.

    Raises:
        InputError: it is not a volume, has no voxels, has several components that are not RGB, is under a non-linear
            transform, or has an invalid geometry.
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
    """Return a view of the voxels of any volume node, (K, J, I) or (K, J, I, components); None if it has none."""
    image = volumeNode.GetImageData()
    data = image.GetPointData() if image is not None else None
    scalars = data and (data.GetScalars() or data.GetTensors())
    if scalars is None or not image.GetNumberOfPoints() or scalars.GetNumberOfTuples() != image.GetNumberOfPoints():
        return None
    components = scalars.GetNumberOfComponents()
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1] + ((components,) if components > 1 else ()))


def contentNow(volumeNode) -> str:
    """Return a text that identifies the image that a volume node holds now.

    The image changes if a sequence shows another item, or if a stream, a filter or the user writes other voxels into
    the node. Changes of transparency are ignored.
    """
    voxels, item = voxelsOf(volumeNode), itemOf(volumeNode)
    if voxels is None:
        return "none"
    color = voxels[..., :3] if voxels.ndim > 3 else voxels
    some = color.reshape(-1, *color.shape[3:])
    some = some[:: len(some) // SAMPLED | 1]  # an odd step samples all columns
    changed = volumeNode.GetImageData().GetMTime()  # unique for each change in VTK
    if changed not in _sums:
        if len(_sums) > REMEMBERED:
            _sums.clear()
        _sums[changed] = _sum(color)
    text = f"{voxels.shape[:3]} {zlib.crc32(some.tobytes()):08x};{_sums[changed]:016x};"
    return text + (f"{item.value};" if item else "")


def _sum(voxels: np.ndarray) -> int:
    """Sum the memory of voxels in 64-bit words, which takes a tenth of the time of a checksum."""
    whole = np.ascontiguousarray(voxels).reshape(-1).view(np.uint8)
    words = whole[: whole.size // 8 * 8].view(np.uint64)
    return (int(words.sum()) + int(whole[8 * words.size :].sum())) % 2**64


def holdsStill(volumeNode, content: str) -> bool:
    """Return whether a volume node still holds the image that a text of `contentNow` identifies.

    An image that joins or leaves a sequence stays the same.
    """
    now, then = (set(text.split(";")) for text in (contentNow(volumeNode), content))
    return now <= then or then <= now  # the content of maps in older scenes has no sum


class SceneSlices:
    """The slices of a volume node along one plane: images for the models, and conversion between pixels and RAS.

    Args:
        volumeNode: scalar or RGB volume; a linear transform on it is applied.
        plane: "axial", "coronal" or "sagittal": the voxel plane of the volume nearest to this one in world coordinates.

    Attributes:
        window: (low, high) that the models see as black and white.
        inverted: whether the models see low intensities light, as the views show them. A PET is never inverted.
        item: item of a sequence that the volume shows now; None if it is not in a sequence.
        content: content of the image; see `contentNow`.

    Raises:
        InputError: see `sceneVolume` and `volumes.SliceStack`.
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
        self._levels = np.arange(256, dtype=np.uint8)  # gray level of a stack image -> level that the models see
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
        """Check that the volume has not moved since this object was made; see `requirePlacement`."""
        requirePlacement(self.volumeNode, self._placement, _("start again"))

    def image(self, k: int) -> np.ndarray:
        """Return slice k as the models see it, (H, W, 3) uint8, and check it for `notes`."""
        image = self._levels[self.stack.image(k)]
        self._notes.look(self.stack.voxels(k), image)
        return image

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about the volume and the slices whose images were returned."""
        notes = self._notes.sentences()
        if not holdsStill(self.volumeNode, self.content):
            text = _("The image of '{name}' has changed during the run: the result may not fit what it shows now.")
            notes.append(text.format(name=self.volumeNode.GetName()))
        return notes

    def toWorld(self, k: float, x: float, y: float) -> np.ndarray:
        """Compute world RAS (3,), mm, of a point in the image of slice k; see `SliceStack.index_at`."""
        return (self.ijkToWorld @ (*self.stack.index_at(k, x, y), 1))[:3]

    def toImage(self, world) -> tuple[float, float, float]:
        """Compute (k, x, y) of a point in world RAS, mm."""
        return self.stack.image_at((np.linalg.inv(self.ijkToWorld) @ (*world, 1))[:3])

    def slabs(self, masks: Mapping[int, np.ndarray]) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Join masks of slices into one (K', J', I') block of the voxel grid, with its first voxel (i, j, k)."""
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

    If the view is oblique to the volume, it is the slice at the center of the view. If the center is outside the
    volume, it is the slice that the view crosses at the volume's voxel nearest to the center.

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
    """Return (low, high) that the slice views show as black and white, so that the models see what the user sees."""
    display = volumeNode.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        return None
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    return (low, high) if low < high else None


def _isInverted(volumeNode) -> bool:
    """Return whether the slice views show low intensities light and high ones dark.

    The lookup table of the display is that of its color node, reversed if the display is inverted (Slicer 5.10 and
    later). A table that begins and ends in gray shows the direction itself; a table of colors counts as inverted if the
    display is inverted.
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
    """Compute the nearest orthonormal matrix to one that a transform may have sheared; reflections are kept."""
    left, _singular, right = np.linalg.svd(matrix)
    return left @ right
