"""Upright radiological slices of a volume, and the way back to its voxels.

Every plane shows the patient in radiological convention:

    plane      top of image   left of image   slice 0 .. last
    axial      anterior         patient's right   inferior .. superior
    coronal    superior         patient's right   posterior .. anterior
    sagittal   superior         anterior          right .. left
    natural    as stored (images without orientation); slice k is voxel index k

Nothing is rotated: each anatomical axis is assigned the nearest voxel axis, and slices are voxel planes, only permuted
and flipped. So a mask returns to exactly the voxels on which it was drawn, also in oblique volumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.volume import Volume
from MedCLIPSAMLib.volumes.window import FROM_FILE, Window, to_uint8, window_range

# For each plane, the patient direction of (slice number, row, column): LPS axis 0, 1 or 2, and its sign.
PLANES: dict[str, tuple[tuple[int, int], ...]] = {
    "axial": ((2, +1), (1, +1), (0, +1)),
    "coronal": ((1, -1), (2, -1), (0, +1)),
    "sagittal": ((0, +1), (2, -1), (1, +1)),
}
SQUARE_TOLERANCE = 0.01
MAX_PIXELS = 20_000
"""Maximum side, in pixels, of an image that is enlarged to square pixels."""


class SliceStack:
    """The slices of a volume along one anatomical plane, as square-pixel 8-bit images.

    If the voxels of a slice are square within 1 %, each pixel is a voxel. Otherwise (such as in a coronal view of thick
    slices) the image is enlarged along the coarser side to square pixels, which the models require, and `to_grid`
    averages the pixels of each voxel.

    Args:
        volume: the volume to slice.
        plane: "axial", "coronal" or "sagittal"; images without orientation are always "natural".
        window: see `window.window_range`; all slices share one range.

    Attributes:
        plane: the plane in use ("natural" for images).
        voxel_shape: (rows, columns) of a slice on the voxel grid.
        image_shape: (H, W) of `image`.
        pixel_spacing: (row_mm, col_mm) of a pixel of `image`.
        slice_spacing: distance between neighboring slices, mm.
        window: (low, high) intensities shown as 0 and 255.

    Raises:
        InputError: the plane or window is unknown, the plane is perpendicular to the only slice of the volume, or the
            voxels are so anisotropic that an image with square pixels would be too large.
    """

    def __init__(self, volume: Volume, plane: str = "axial", window: Window = None) -> None:
        check_plane(plane)
        self.volume = volume
        self.plane = "natural" if volume.natural else plane
        self._axes, self._flips = _array_axes(volume, self.plane)
        spacing = [volume.geometry.spacing[2 - axis] for axis in self._axes]
        self.slice_spacing = spacing[0]
        self._voxels = self._orient(volume.array)
        self.voxel_shape: tuple[int, int] = self._voxels.shape[1:3]
        if len(self) > 1 and 1 in self.voxel_shape:
            own = next(name for name in PLANES if volume.shape[_array_axes(volume, name)[0][0]] == 1)
            raise InputError(
                f"'{volume.name}' is one {own} slice: it has no {plane} images.", f"Use the plane '{own}'."
            )
        self.image_shape, self.pixel_spacing = _square(self.voxel_shape, (spacing[1], spacing[2]))
        self.window = (0.0, 255.0) if volume.is_rgb else window_range(volume, window)
        self._curve = volume.curve if window in FROM_FILE else None

    def __len__(self) -> int:
        return len(self._voxels)

    def image(self, k: int) -> np.ndarray:
        """Return slice k, uint8 (H, W, 3), upright and windowed; raises InputError if k is not in 0 .. len - 1."""
        self._check(k)
        pixels = self._voxels[k]
        if not self.volume.is_rgb:
            gray = self._curve.to_uint8(pixels) if self._curve else to_uint8(pixels, *self.window)
            pixels = np.repeat(gray[..., None], 3, axis=2)
        if self.image_shape == self.voxel_shape:
            return np.array(pixels, order="C")
        height, width = self.image_shape
        return np.array(
            Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), Image.Resampling.BILINEAR)
        )

    def voxels(self, k: int) -> np.ndarray:
        """Return a view of slice k with stored values, upright: (rows, columns), or (rows, columns, 3) for RGB."""
        self._check(k)
        return self._voxels[k]

    def source_index(self, k: int) -> int:
        """Return the voxel index of slice k along the volume's own axis `source_axis`."""
        self._check(k)
        return len(self) - 1 - k if self._flips[0] else k

    @property
    def source_axis(self) -> str:
        """Voxel axis along which the stack runs: "I", "J" or "K"."""
        return "KJI"[self._axes[0]]

    def to_grid(self, images: Mapping[int, np.ndarray]) -> np.ndarray:
        """Place masks or saliency maps of slices, (H, W) each, into a (K, J, I) array on the source grid.

        Boolean masks give a boolean array, in which a voxel is set if more than half of the pixels centered in it are.
        Anything else gives float32, the mean of these pixels. Slices that are not given are 0.

        Raises:
            InputError: a slice number is out of range, or an image has another shape.
        """
        is_mask = all(np.asarray(image).dtype == bool for image in images.values())
        grid = np.zeros(self.volume.shape, bool if is_mask else np.float32)
        along = self._axes[0]
        for k, image in images.items():
            at = [slice(None)] * 3
            at[along] = slice(self.source_index(k), self.source_index(k) + 1)
            grid[tuple(at)] = self.to_slab(k, image)
        return grid

    def to_slab(self, k: int, image: np.ndarray) -> np.ndarray:
        """Place the mask or saliency map of slice k into a (K, J, I) array that is one slice thick.

        Its position along `source_axis` is `source_index(k)`; for values and errors, see `to_grid`.
        """
        self._check(k)
        image = np.asarray(image)
        if image.shape != self.image_shape:
            raise InputError(f"Expected a map of shape {self.image_shape} for slice {k}, got {image.shape}.")
        is_mask = image.dtype == bool
        if self.image_shape != self.voxel_shape:
            image = _voxel_means(image, self.voxel_shape)
            image = image > 0.5 if is_mask else image
        shape = list(self.volume.shape)
        shape[self._axes[0]] = 1
        slab = np.zeros(shape, bool if is_mask else np.float32)
        self._orient(slab)[0] = image
        return slab

    def from_grid(self, array: np.ndarray, k: int) -> np.ndarray:
        """Return slice k of a (K, J, I) mask or map as its image shows it, (H, W); `to_grid` inverts this exactly."""
        self._check(k)
        if array.shape != self.volume.shape:
            raise InputError(
                f"Expected a mask on the grid {self.volume.shape} of '{self.volume.name}', got {array.shape}."
            )
        rows, columns = (_voxel_of_pixel(n, voxels) for n, voxels in zip(self.image_shape, self.voxel_shape))
        return self._orient(array)[k][np.ix_(rows, columns)]

    def index_at(self, k: float, x: float, y: float) -> tuple[float, float, float]:
        """Compute the voxel index (i, j, k), integer at voxel centers, of a point in the image of slice k.

        Args:
            k: slice number, integer in the middle of a slice.
            x, y: pixels; pixel (row 0, column 0) covers 0 .. 1 in both.
        """
        (height, width), (rows, columns) = self.image_shape, self.voxel_shape
        place = (k, y * rows / height - 0.5, x * columns / width - 0.5)
        index = [0.0, 0.0, 0.0]
        for axis, flip, value in zip(self._axes, self._flips, place):
            index[2 - axis] = self.volume.shape[axis] - 1 - value if flip else value
        return index[0], index[1], index[2]

    def image_at(self, index: Sequence[float]) -> tuple[float, float, float]:
        """Compute (k, x, y) of a voxel index (i, j, k): the inverse of `index_at`."""
        place = [
            self.volume.shape[axis] - 1 - index[2 - axis] if flip else index[2 - axis]
            for axis, flip in zip(self._axes, self._flips)
        ]
        (height, width), (rows, columns) = self.image_shape, self.voxel_shape
        return place[0], (place[2] + 0.5) * width / columns, (place[1] + 0.5) * height / rows

    def _orient(self, array: np.ndarray) -> np.ndarray:
        """View a (K, J, I, ...) array as (slice, row, column, ...)."""
        rest = tuple(range(3, array.ndim))
        return array.transpose(self._axes + rest)[tuple(slice(None, None, -1 if flip else 1) for flip in self._flips)]

    def _check(self, k: int) -> None:
        if not 0 <= k < len(self):
            raise InputError(
                f"'{self.volume.name}' has no {self.plane} slice {k}.", f"Its slices are 0 to {len(self) - 1}."
            )


def check_plane(plane: str) -> None:
    """Refuse an unknown plane.

    Raises:
        InputError: the plane is neither in `PLANES` nor "natural", the plane of images without orientation.
    """
    if plane not in PLANES and plane != "natural":
        raise InputError(f"Expected a plane of {', '.join(PLANES)}, got '{plane}'.", "Choose one of them.")


def nearest_axes(direction: np.ndarray) -> tuple[int, int, int]:
    """Find the voxel axis (0 = I, 1 = J, 2 = K) nearest to each of L, P and S, each used once.

    Among the six assignments, the one with the largest sum of |cosines| is chosen.

    Args:
        direction: 3 x 3; column a is the unit LPS vector of voxel axis a (ITK's direction matrix).
    """
    cosines = np.abs(direction)
    left, posterior, superior = max(
        permutations(range(3)), key=lambda axes: sum(cosines[patient, axes[patient]] for patient in range(3))
    )
    return left, posterior, superior


def _array_axes(volume: Volume, plane: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Return the axes of a (K, J, I) array that form (slice, row, column), and which of them to flip."""
    if plane == "natural":
        return (0, 1, 2), (False, False, False)
    direction = volume.geometry.cosines
    nearest = nearest_axes(direction)
    axes = tuple(2 - nearest[patient] for patient, _ in PLANES[plane])
    flips = tuple(bool(direction[patient, nearest[patient]] * sense < 0) for patient, sense in PLANES[plane])
    return axes, flips


def _square(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return (H, W) and (row_mm, col_mm) of the image whose square pixels have the finer spacing."""
    finest = min(spacing)
    if max(spacing) <= finest * (1 + SQUARE_TOLERANCE):
        return shape, spacing
    sizes = [max(n, round(n * mm / finest)) for n, mm in zip(shape, spacing)]
    if max(sizes) > MAX_PIXELS:
        raise InputError(
            f"Voxels of {spacing[0]:g} x {spacing[1]:g} mm would make images of {sizes[0]} x {sizes[1]} pixels: "
            f"expected at most {MAX_PIXELS} a side.",
            "Resample the volume, or choose another plane.",
        )
    return (sizes[0], sizes[1]), (shape[0] * spacing[0] / sizes[0], shape[1] * spacing[1] / sizes[1])


def _voxel_of_pixel(pixels: int, voxels: int) -> np.ndarray:
    """Find the voxel that contains the center of each pixel along a side; integers make this exact at edges."""
    return (2 * np.arange(pixels) + 1) * voxels // (2 * pixels)


def _voxel_means(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Average the pixels whose centers lie in each voxel, as float32 of `shape`."""
    means: np.ndarray = image.astype(np.float32)
    for axis, voxels in enumerate(shape):
        owners = _voxel_of_pixel(image.shape[axis], voxels)
        counts = np.bincount(owners, minlength=voxels).astype(np.float32)
        sums = np.add.reduceat(means, np.searchsorted(owners, np.arange(voxels)), axis=axis)
        means = sums / (counts[:, None] if axis == 0 else counts)
    return means
