"""Named masks with their grid, and two such files brought to a common grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import InputError, MedCLIPSAMError
from MedCLIPSAMLib.evaluation.pairs import masks_in
from MedCLIPSAMLib.volumes.dicom_header import is_dicom
from MedCLIPSAMLib.volumes.dicom_segmentation import (
    is_dicom_segmentation,
    read_dicom_segmentation,
)
from MedCLIPSAMLib.volumes.dicom_structures import NUMBER
from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.mark import UNKNOWN_SPACING, is_marked
from MedCLIPSAMLib.volumes.raster import raster_format
from MedCLIPSAMLib.volumes.read import read_image, read_volume
from MedCLIPSAMLib.volumes.segment import Segment
from MedCLIPSAMLib.volumes.segmentation import brighter_half, read_segmentation
from MedCLIPSAMLib.volumes.suffixes import IMAGE_SUFFIXES, RASTER_SUFFIXES
from MedCLIPSAMLib.volumes.volume import Volume, stem

WHITE = {255, 65535}
"""Values of white in a mask image of 8 and of 16 bits."""
MAX_LEVELS, BRIGHT = 16, 200
"""An image with at least so many values besides 0, the highest at least `BRIGHT`, has gray levels and not labels."""
OF_DICOM = (
    "DICOM masks can be Segmentations (SEG), RT Structure Sets, and images with few values: give one of these, or save "
    "the mask as .seg.nrrd. A folder holds the masks of one image."
)
PARALLEL = 1e-3
"""Maximum divergence of axes that count as parallel, in voxels per voxel."""
OFF_LATTICE = 0.01
"""Maximum shift between the grids of a case, in voxels."""


@dataclass(frozen=True)
class Masks:
    """The masks of a file or folder, and their grid.

    White in an image with one mask (255, or 65535 in 16 bits) is label 1. JPEG changes values, so there the brighter
    half of the range is label 1.

    Attributes:
        masks: (K, J, I) bool, by lower-case name in a segmentation, by file name in a folder of files without names,
            otherwise by label value.
        notes: sentences for the user on how the file was read.
        segments: the segments of a segmentation.
        unsized: whether the images do not say how large a pixel is.
    """

    path: Path
    masks: dict[str, np.ndarray]
    grid: sitk.Image
    notes: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    unsized: bool = False

    @property
    def numbers(self) -> dict[str, str]:
        """Numbers of the segments of a DICOM Segmentation by lower-case name; empty if any is missing or not unique."""
        found = {segment.name.lower(): segment.tags.get(NUMBER, "") for segment in self.segments}
        return found if all(found.values()) and len(set(found.values())) == len(self.segments) else {}

    @property
    def geometry(self) -> Geometry:
        """Position of the voxels."""
        return Geometry.from_sitk(self.grid)

    @property
    def is_raster(self) -> bool:
        """Whether the file is an image without position, such as PNG."""
        return self.unsized or self.path.suffix.lower() in RASTER_SUFFIXES

    @property
    def known_spacing(self) -> bool:
        """Whether the spacing is physical: neither of a plain image, nor marked as unknown by this program."""
        return not self.is_raster and not is_marked(self.path, UNKNOWN_SPACING)

    def with_names(self, names: Mapping[str, str]) -> Masks:
        """Return the same masks, renamed as `names` says; masks that are not in it keep their names."""
        return replace(self, masks={names.get(name, name): mask for name, mask in self.masks.items()})

    @property
    def may_be_cropped(self) -> bool:
        """Whether the file is a segmentation of Slicer or DICOM, which may be cropped to its content."""
        return self.path.name.lower().endswith(".seg.nrrd") or bool(self.segments)


def read_masks(path: Path, like: Geometry | None = None) -> Masks:
    """Read a file of masks, or a folder of them; masks without a name are named after their file in a folder.

    Args:
        like: grid of the image, or of the mask to compare with, for what a DICOM Segmentation does not specify.

    Raises:
        InputError: the file cannot be read as a mask.
    """
    if path.is_dir() and (files := masks_in(path)):
        return _read_folder(path, files, like)
    if path.is_dir() or (is_dicom(path) and not is_dicom_segmentation(path)):
        return _read_dicom(path)
    _check_format(path)
    if is_dicom_segmentation(path):
        segments, geometry, notes = read_dicom_segmentation(path, like)
        grid = sitk.Image(segments[0].mask.shape[::-1], sitk.sitkUInt8)
        geometry.place(grid)
        return _by_name(path, segments, grid, notes)
    grid = read_image(path)
    if raster_format(path) == "JPEG":
        return Masks(path, {"1": sitk.GetArrayFromImage(brighter_half(grid)) == 1}, grid)
    segments = read_segmentation(path)
    if grid.HasMetaDataKey("Segment0_ID"):
        return _by_name(path, segments, grid, [])
    voxels = sitk.GetArrayViewFromImage(grid)
    found = {round(float(voxels[segment.mask].flat[0])): segment.mask for segment in segments}
    is_raster = path.suffix.lower() in RASTER_SUFFIXES
    if is_raster and len(found) >= MAX_LEVELS and max(found) >= BRIGHT:
        raise gray_levels(path, len(found) + 1)
    if is_raster and len(found) == 1 and WHITE & found.keys():
        found = {1: segments[0].mask}
    return Masks(path, {f"{value}": mask for value, mask in found.items()}, grid)


def _read_folder(path: Path, files: list[Path], like: Geometry | None) -> Masks:
    """Read the masks of one image from the files of a folder, which share a grid; masks of the same name are united."""
    whole: Masks | None = None
    for file in files:
        found = read_masks(file, like or (whole.geometry if whole else None))
        if not found.segments:
            name, several = stem(file).lower(), len(found.masks) > 1
            found = found.with_names({value: f"{name} {value}" if several else name for value in found.masks})
        found = replace(found, path=path, unsized=not found.known_spacing)
        if whole is not None:
            whole, found, _ = bring_to_common_grid(path.name, whole, found)
            masks = {name: found.masks[name] | whole.masks.get(name, False) for name in found.masks}
            notes, segments = whole.notes + found.notes, whole.segments + found.segments
            found = replace(whole, masks=whole.masks | masks, notes=notes, segments=segments)
        whole = found
    assert whole is not None
    return whole


def gray_levels(path: Path, count: int) -> InputError:
    """Make the error for a mask image with gray levels instead of labels, as smoothed borders cause them."""
    return InputError(
        f"Expected a mask in '{path}', got an image of {count} gray levels.",
        "Threshold it to two values, or save one label value per pixel, without smoothed borders.",
    )


def _check_format(path: Path) -> None:
    """Refuse an existing file that is not a mask format; a missing file is reported by the reader."""
    if path.name.lower().endswith(IMAGE_SUFFIXES) or not path.exists() or is_dicom_segmentation(path):
        return
    what, remedy = f"a file '{path.suffix}'", f"Convert it to one of {', '.join(IMAGE_SUFFIXES)}."
    if path.suffix.lower() == ".dcm":
        what, remedy = "DICOM", OF_DICOM
    raise InputError(f"Expected a mask in '{path}', got {what}, which cannot be scored.", remedy)


def _read_dicom(path: Path) -> Masks:
    """Read an image or a series whose few values are labels, as in CBIS-DDSM and 3D-IRCADb."""
    try:
        volume = read_volume(path)
    except MedCLIPSAMError:
        volume = None
    values = np.unique(volume.array if volume else [])
    if volume is None or volume.array.ndim > 3 or len(values) > MAX_LEVELS:
        what = "a folder without masks" if path.is_dir() else "DICOM"
        raise InputError(f"Expected a mask in '{path}', got {what}, which cannot be scored.", OF_DICOM)
    white = len(values) == 2 and values[1] in WHITE
    masks = {"1" if white else f"{round(float(value))}": volume.array == value for value in values if value}
    return Masks(path, masks, volume.to_sitk(), unsized=not volume.known_spacing)


def _by_name(path: Path, segments: list[Segment], grid: sitk.Image, notes: list[str]) -> Masks:
    """Make masks of segments by lower-case name; segments of the same name become one mask, with a note."""
    masks: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for segment in segments:
        key = segment.name.lower()
        if names.setdefault(key, segment.name) != segment.name:
            raise InputError(
                f"'{path}' has the segments '{names[key]}' and '{segment.name}', which differ only in case.",
                "Give them different names, or the same name to score them as one.",
            )
        masks[key] = masks[key] | segment.mask if key in masks else segment.mask
        counts[segment.name] += 1
    notes += [
        f"'{path}' has {count} segments '{name}': they are scored as one."
        for name, count in counts.items()
        if count > 1
    ]
    return Masks(path, masks, grid, notes, segments)


def bring_to_common_grid(case: str, pred: Masks, truth: Masks) -> tuple[Masks, Masks, tuple[float, float, float]]:
    """Bring both masks to one grid.

    Files must share their grid; the order and direction of their axes may differ. Slicer segmentations may be cropped:
    they are padded if the voxels coincide. For images, whose pixels have no known size, only the number of pixels is
    compared.

    Returns:
        Both masks, and their spacing (K, J, I) in mm, or ones if either spacing is unknown.

    Raises:
        InputError: the grids differ; the message names the case.
    """
    images = pred.is_raster or truth.is_raster
    known = pred.known_spacing and truth.known_spacing
    spacing = truth.grid.GetSpacing()[::-1] if known else (1.0, 1.0, 1.0)
    if not images:
        pred = _reorient(pred, truth.grid)
    size, other_size = np.array(pred.grid.GetSize()), np.array(truth.grid.GetSize())
    offset = None if images else _offset(pred.grid, truth.grid)
    if offset is None:
        same = images or (not known and np.allclose(pred.grid.GetDirection(), truth.grid.GetDirection()))
    else:
        same = not offset.any()
    if same and np.array_equal(size, other_size):
        return pred, truth, spacing
    if offset is not None and (pred.may_be_cropped or truth.may_be_cropped):
        low, high = np.minimum(offset, 0), np.maximum(offset + size, other_size)
        return _padded(pred, offset - low, high - offset - size), _padded(truth, -low, high - other_size), spacing
    raise InputError(
        f"The masks of '{case}' lie on different grids: {_words(pred)} ('{pred.path.name}') "
        f"and {_words(truth)} ('{truth.path.name}').",
        "Make the prediction on the image that the truth was drawn on, or resample one of them.",
    )


def place_on_image(case: str, masks: Masks, image: Path, volume: Volume) -> dict[str, np.ndarray]:
    """Return masks on the grid of an image; a cropped segmentation is padded.

    Raises:
        InputError: the grids differ (see `bring_to_common_grid`), or a mask extends beyond the image. The message names
            the case.
    """
    grid = volume.to_sitk(np.zeros(volume.shape, np.uint8))
    try:
        placed, _, _ = bring_to_common_grid(case, masks, Masks(image, {}, grid))
    except InputError as error:
        raise InputError(error.problem, "Draw the mask on this image, or resample it.") from error
    if placed.grid.GetSize() == grid.GetSize():
        return placed.masks
    start = np.rint(placed.grid.TransformPhysicalPointToContinuousIndex(grid.GetOrigin())).astype(int)[::-1]
    part = tuple(slice(first, first + extent) for first, extent in zip(start, volume.shape))
    if any(mask.sum() != mask[part].sum() for mask in placed.masks.values()):
        raise InputError(f"The mask of '{case}' extends beyond its image.", "Erase what lies outside.")
    return {name: mask[part] for name, mask in placed.masks.items()}


def _reorient(masks: Masks, reference: sitk.Image) -> Masks:
    """Reorder the axes of masks to those of another grid if they are parallel; no resampling."""
    own, other = Geometry.from_sitk(masks.grid), Geometry.from_sitk(reference)
    steps = np.linalg.inv(other.affine) @ own.affine
    turn = np.rint(steps[:3, :3])
    parallel = np.abs(steps[:3, :3] - turn).max() < PARALLEL and (np.abs(turn).sum(0) == 1).all()
    if not parallel or (np.abs(turn).sum(1) != 1).any() or np.array_equal(turn, np.eye(3)):
        return masks
    order = np.abs(turn).argmax(1)  # the own axis along each axis of the other grid
    backward = [bool(turn[axis, order[axis]] < 0) for axis in range(3)]
    axes = tuple(2 - order[axis] for axis in (2, 1, 0))
    flips = tuple(slice(None, None, -1 if backward[axis] else 1) for axis in (2, 1, 0))
    grid = sitk.Flip(sitk.PermuteAxes(_empty(masks.grid), order.tolist()), backward)
    grid.SetDirection(other.direction)
    turned = {name: np.ascontiguousarray(mask.transpose(axes)[flips]) for name, mask in masks.masks.items()}
    return replace(masks, masks=turned, grid=grid)


def _offset(grid: sitk.Image, reference: sitk.Image) -> np.ndarray | None:
    """Return the voxels (i, j, k) from the origin of `reference` to that of `grid`; None if voxels do not coincide."""
    if not np.allclose(grid.GetSpacing(), reference.GetSpacing(), rtol=1e-3):
        return None
    if not np.allclose(grid.GetDirection(), reference.GetDirection(), atol=1e-3):
        return None
    offset = np.array(reference.TransformPhysicalPointToContinuousIndex(grid.GetOrigin()))
    return np.rint(offset).astype(int) if np.abs(offset - np.rint(offset)).max() < OFF_LATTICE else None


def _padded(masks: Masks, before: np.ndarray, after: np.ndarray) -> Masks:
    """Add voxels (i, j, k) of background before and after those of masks."""
    grid = sitk.ConstantPad(_empty(masks.grid), before.tolist(), after.tolist())
    widths = list(zip(before[::-1], after[::-1]))
    return replace(masks, masks={name: np.pad(mask, widths) for name, mask in masks.masks.items()}, grid=grid)


def _empty(grid: sitk.Image) -> sitk.Image:
    image = sitk.Image(grid.GetSize(), sitk.sitkUInt8)
    image.CopyInformation(grid)
    return image


def _words(masks: Masks) -> str:
    grid = masks.grid
    size = " x ".join(str(extent) for extent in grid.GetSize())
    if not masks.known_spacing:
        return f"{size} pixels"
    spacing = " x ".join(f"{step:.4g}" for step in grid.GetSpacing())
    origin = ", ".join(f"{value:.4g}" for value in grid.GetOrigin())
    return f"{size} voxels of {spacing} mm at ({origin})"
