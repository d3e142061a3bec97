"""Reading of masks: segmentations of Slicer and DICOM, label maps and mask images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import NoneType

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import PATH, InputError, check_type
from MedCLIPSAMLib.volumes.dicom_segmentation import is_dicom_segmentation, read_dicom_segmentation
from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.raster import raster_format
from MedCLIPSAMLib.volumes.read import read_image
from MedCLIPSAMLib.volumes.segment import Segment
from MedCLIPSAMLib.volumes.suffixes import RASTER_SUFFIXES
from MedCLIPSAMLib.volumes.terminology import Terminology, color_for
from MedCLIPSAMLib.volumes.volume import Volume, stem

MAX_LABELS = 1000
ROUNDING = 1e-3
"""Maximum distance of a label from an integer."""


def read_segmentation(path: str | Path, volume: Volume | None = None) -> list[Segment]:
    """Read a .seg.nrrd file as Slicer writes it, a DICOM Segmentation, a label map (.nii.gz, .nrrd) or an image (.png).

    A label map gives a segment for each value except 0, in ascending order. Each is named after the file and, if
    there are several, the value. JPEG changes values, so the brighter half of their range is one segment.

    Args:
        path: the file.
        volume: resample the masks to the grid of this volume by nearest neighbor, which is exact if the grids share
            their voxels (Slicer crops a segmentation to its content). Without it, masks are on the grid of the file.

    Raises:
        InputError: the file cannot be read, has several channels, more than 1000 values, or fractional values, or is a
            .seg.nrrd file whose header describes no segments.
    """
    check_type(volume, (Volume, NoneType), "the volume that the masks are of, or None")
    check_type(path, PATH, "the path of a mask")
    path = Path(path)
    if is_dicom_segmentation(path):
        segments, grid, _ = read_dicom_segmentation(path, volume.geometry if volume else None)
        if volume is None:
            return segments
        grids = _on_grids([Volume(segment.mask.astype(np.uint8), grid).to_sitk() for segment in segments], volume)
        return [replace(segment, mask=placed != 0) for segment, placed in zip(segments, grids)]
    image = read_image(path)
    if path.name.lower().endswith(".seg.nrrd") or image.HasMetaDataKey("Segment0_ID"):
        try:
            return _slicer_segments(image, volume, path)
        except (ValueError, IndexError) as error:
            raise InputError(f"'{path}' has damaged segments: {error}.", "Save it again in 3D Slicer.") from error
    image = brighter_half(image) if raster_format(path) == "JPEG" else _one_channel(image, path)
    is_raster = path.suffix.lower() in RASTER_SUFFIXES
    if is_raster and volume is not None:
        if image.GetSize() != volume.shape[::-1]:
            raise InputError(f"'{path}' has the size {image.GetSize()}, '{volume.name}' has {volume.shape[::-1]}.")
        volume = None
    labels = _whole(*_on_grids([image], volume))
    values = np.unique(labels)
    fractions = values[~np.isfinite(values) | (values != np.floor(values))]
    if values.size > MAX_LABELS or fractions.size:
        such = f", such as {fractions[0]:.4g}" if fractions.size else ""
        raise InputError(
            f"Expected a mask in '{path}', got {values.size} different values{such}.",
            "Give a label map with integer values.",
        )
    values = values[values != 0]
    name = stem(path)
    return [Segment(name if values.size == 1 else f"{name} {int(value)}", labels == value) for value in values]


def _whole(labels: np.ndarray) -> np.ndarray:
    """Round labels with small fractions, as a scale or a resampling leaves them: 0.9999998 becomes 1."""
    whole = np.rint(labels)
    return whole if labels.dtype.kind == "f" and np.allclose(labels, whole, rtol=0, atol=ROUNDING) else labels


def brighter_half(image: sitk.Image) -> sitk.Image:
    """Return 1 where the values of a lossily stored image are nearer to the highest value than to 0."""
    array = sitk.GetArrayViewFromImage(image)
    array = array if array.ndim == 3 else array.max(-1)
    return sitk.GetImageFromArray((array > array.max() / 2).astype(np.uint8))


def _one_channel(image: sitk.Image, path: Path) -> sitk.Image:
    """Return the image, or its first channel if red, green and blue are equal."""
    count = image.GetNumberOfComponentsPerPixel()
    if count == 1:
        return image
    array = sitk.GetArrayViewFromImage(image)
    if count not in (3, 4) or (array[..., :1] != array[..., :3]).any():
        raise InputError(f"'{path}' is a color image, not a mask.", "Save it with one label value per pixel.")
    return sitk.VectorIndexSelectionCast(image, 0)


def _slicer_segments(image: sitk.Image, volume: Volume | None, path: Path) -> list[Segment]:
    """Read segments by the Segment{n}_ fields; Slicer before 4.11 wrote one layer for each and no LabelValue.

    Raises:
        InputError: there are fractions instead of masks, or voxels without these fields.
    """
    kinds = [_field(image, f"Segmentation_{which}Representation") for which in ("Master", "Source")]
    if any(kind.startswith("Fractional") for kind in kinds):
        raise InputError(
            f"'{path}' holds fractions of voxels (Fractional labelmap), not masks.",
            "Convert it to a binary labelmap in 3D Slicer's Segmentations module.",
        )
    layer_count = image.GetNumberOfComponentsPerPixel()
    layers = [image] if layer_count == 1 else [sitk.VectorIndexSelectionCast(image, n) for n in range(layer_count)]
    grids = _on_grids(layers, volume)
    numbers = sorted(
        int(match[1]) for key in image.GetMetaDataKeys() if (match := re.fullmatch(r"Segment(\d+)_ID", key))
    )
    if not numbers and any(grid.any() for grid in grids):
        raise InputError(
            f"'{path}' has voxels of segments that its header does not describe.",
            "Save it again in 3D Slicer, or give it the suffix .nrrd, by which it is read as a label map.",
        )
    segments = []
    for number in numbers:
        fields = {
            key: _field(image, f"Segment{number}_{key}") for key in ("Name", "Color", "Layer", "LabelValue", "Tags")
        }
        layer = int(fields["Layer"] or min(number, layer_count - 1))
        if not 0 <= layer < layer_count:
            raise ValueError(f"expected a layer from 0 to {layer_count - 1}, got {layer}")
        tags = dict(tag.split(":", 1) for tag in fields["Tags"].split("|") if ":" in tag)
        name, channels = fields["Name"] or f"Segment {number + 1}", [float(value) for value in fields["Color"].split()]
        segments.append(
            Segment(
                name=name,
                mask=grids[layer] == int(fields["LabelValue"] or 1),
                color=(channels[0], channels[1], channels[2]) if len(channels) == 3 else color_for(name),
                terminology=Terminology.from_entry(tags.pop("TerminologyEntry", "")),
                tags=tags,
            )
        )
    return segments


def _field(image: sitk.Image, key: str) -> str:
    return image.GetMetaData(key) if image.HasMetaDataKey(key) else ""


def _on_grids(layers: Sequence[sitk.Image], volume: Volume | None) -> list[np.ndarray]:
    """Place label values on the grid of `volume`, each (K, J, I), 0 outside of the file's extent.

    Labels outside of the volume are cut off.

    Raises:
        InputError: all labels lie outside of the volume.
    """
    grids = [_on_grid(layer, volume) for layer in layers]
    if volume and not any(map(np.any, grids)) and any(sitk.GetArrayViewFromImage(layer).any() for layer in layers):
        raise InputError(f"The mask lies wholly outside of '{volume.name}'.", "Check that both are of the same series.")
    return grids


def _on_grid(labels: sitk.Image, volume: Volume | None) -> np.ndarray:
    array = sitk.GetArrayFromImage(labels)
    if volume is None:
        return array
    own = Geometry.from_sitk(labels)
    if not volume.known_spacing:  # such a file states only the resolution of a print or a screen
        own = replace(own, spacing=volume.geometry.spacing)
    if array.shape == volume.shape and own.is_close(volume.geometry):
        return array
    grid = volume.to_sitk(np.zeros(volume.shape, np.uint8))
    return sitk.GetArrayFromImage(sitk.Resample(labels, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0))
