"""Writing of segments and saliency maps to files that open at the correct position in 3D Slicer and elsewhere."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from MedCLIPSAMLib.errors import PATH, InputError, OutputError, check_type
from MedCLIPSAMLib.files.atomic import atomic_path, check_writable
from MedCLIPSAMLib.volumes.itk_read import itk_path
from MedCLIPSAMLib.volumes.mark import KEY, MARK, UNKNOWN_SPACING
from MedCLIPSAMLib.volumes.nifti import write_nifti
from MedCLIPSAMLib.volumes.segment import Segment, without_overlap
from MedCLIPSAMLib.volumes.volume import Volume

LABELMAP_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
SEGMENTATION_SUFFIXES = (".seg.nrrd", *LABELMAP_SUFFIXES, ".png")
REPRESENTATION = "Binary labelmap"
FULL_DISK = 1 << 16
"""Free bytes below which a disk counts as full, because ITK does not say why a file is incomplete."""


def write_segmentation(path: str | Path, segments: Sequence[Segment], volume: Volume) -> None:
    """Write masks on the grid of `volume`; the suffix determines the format.

    .seg.nrrd: a Slicer segmentation with names, colors, terminology and tags. Overlapping segments go to separate
        layers; the others share one.
    .nii.gz, .nii, .nrrd, .mha: a label map; segment n of the list has the value n (from 1), and 0 is background. It
        cannot hold overlaps.
    .png: for images only; a single segment has the values 0 and 255, several have their numbers.

    If an error is raised, no file is left behind.

    Raises:
        OutputError: the suffix is unknown, the folder is missing, the file cannot be written, segments overlap in a
            label map or PNG, or the volume has several slices and the file is a PNG.
        InputError: a mask is on another grid, or an argument has another type.
    """
    check_type(path, PATH, "a path to write to")
    check_type(volume, Volume, "the volume that the masks are of")
    check_type(segments, Sequence, "a list of segments")
    path = Path(path)
    for segment in segments:
        check_type(segment, Segment, "a list of segments", "Give Segment(name, mask) for each.")
        if segment.mask.shape != volume.shape:
            raise InputError(
                f"Expected the mask of '{segment.name}' of the shape {volume.shape}, got {segment.mask.shape}.",
                "Give masks on the grid of the volume, (K, J, I).",
            )
    suffix = path.name.lower()
    if suffix.endswith(".seg.nrrd"):
        _write_image(path, _segmentation_image(segments, volume))
    elif suffix.endswith(LABELMAP_SUFFIXES):
        write_array(path, _label_map(segments, volume, path), volume, marked=True)
    elif suffix.endswith(".png"):
        _write_png(path, segments, volume)
    else:
        check_output(path, SEGMENTATION_SUFFIXES)


def write_saliency(path: str | Path, saliency: np.ndarray, volume: Volume) -> None:
    """Write a (K, J, I) map as float32 on the grid of `volume`: .nii.gz, .nii, .nrrd or .mha.

    Raises:
        OutputError: the suffix is unknown, the folder is missing, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(LABELMAP_SUFFIXES):
        raise OutputError(f"Cannot write '{path}': its ending is none of {', '.join(LABELMAP_SUFFIXES)}.")
    write_array(path, saliency.astype(np.float32), volume, marked=True)


def write_array(path: Path, array: np.ndarray, volume: Volume, marked: bool = False) -> None:
    """Write an array (K, J, I) on the grid of `volume`: .nii.gz, .nii, .nrrd or .mha.

    NIfTI keeps the matrices of the NIfTI file from which the volume was read, so that every program aligns both.

    Args:
        marked: add `mark.MARK`, which says that the file is a result and not an image to segment.

    Raises:
        OutputError: the folder is missing, the file cannot be written, or the disk is full.
    """
    marks = _marks(volume, marked)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        image = volume.to_sitk(array)
        if marks:
            image.SetMetaData(KEY, marks)
        _write_image(path, image)
        return
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        write_nifti(file, array, volume.geometry, volume.forms, path.suffix.lower() == ".gz", marks)


def write_png(path: str | Path, image: np.ndarray, marked: bool = False) -> None:
    """Write an image, uint8 (H, W, 3), as PNG.

    Args:
        marked: add `mark.MARK`, which says that the file is a result and not an image to segment.

    Raises:
        OutputError: the suffix is not .png, the folder is missing, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise OutputError(f"Cannot write '{path}': images are written as .png only.", "Give the file that ending.")
    with atomic_path(path) as temporary:
        _save_png(image, temporary, marked)


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse an output before any long work: an unknown suffix, or a path that cannot be written.

    Raises:
        OutputError: the path is refused; the message says why.
        InputError: see `itk_path`.
    """
    if not path.name.lower().endswith(tuple(suffixes)):
        known = f"none of {', '.join(suffixes)}" if len(suffixes) > 1 else f"not {suffixes[0]}"
        raise OutputError(f"Cannot write '{path}': its ending is {known}.", "Give the file such an ending.")
    if not path.name.lower().endswith((".nii", ".nii.gz", ".png")):
        itk_path(path)
    check_writable(path)


def check_slices(path: Path, volume: Volume) -> None:
    """Refuse an image file as the output for a volume of several slices.

    Raises:
        OutputError: the path is an image; the message says what to write instead.
    """
    if path.name.lower().endswith(".png") and volume.shape[0] != 1:
        raise OutputError(f"Cannot write {volume.shape[0]} slices to '{path}'.", "Write .nii.gz or .seg.nrrd.")


def fit(path: Path, segments: Sequence[Segment]) -> tuple[list[Segment], list[str]]:
    """Make segments fit the format of a file, with notes on what they lost; see `segment.without_overlap`."""
    return (list(segments), []) if path.name.lower().endswith(".seg.nrrd") else without_overlap(segments)


def assign_layers(masks: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return (layer, label value) for each mask: the first layer without an overlap; values count from 1."""
    occupied: list[np.ndarray] = []
    values: list[int] = []
    places = []
    for mask in masks:
        layer = next((n for n, taken in enumerate(occupied) if not (taken & mask).any()), len(occupied))
        if layer == len(occupied):
            occupied.append(np.zeros_like(mask, bool))
            values.append(0)
        occupied[layer] |= mask.astype(bool)
        values[layer] += 1
        places.append((layer, values[layer]))
    return places


def _marks(volume: Volume, marked: bool) -> str:
    return ", ".join([MARK] * marked + [UNKNOWN_SPACING] * (not volume.known_spacing))


def _segmentation_image(segments: Sequence[Segment], volume: Volume) -> sitk.Image:
    """Make an image in Slicer's layout: one component per layer, and Segment{n}_ fields in the header."""
    places = assign_layers([segment.mask for segment in segments])
    layers = [
        np.zeros(volume.shape, _label_type(len(segments))) for _ in range(1 + max([n for n, _ in places], default=0))
    ]
    for segment, (layer, value) in zip(segments, places):
        layers[layer][segment.mask] = value
    images = [volume.to_sitk(layer) for layer in layers]
    image = images[0] if len(images) == 1 else sitk.Compose(images)
    if not volume.known_spacing:
        image.SetMetaData(KEY, UNKNOWN_SPACING)
    image.SetMetaData("Segmentation_MasterRepresentation", REPRESENTATION)
    image.SetMetaData("Segmentation_ContainedRepresentationNames", f"{REPRESENTATION}|")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    for number, (segment, (layer, value)) in enumerate(zip(segments, places)):
        tags = {"TerminologyEntry": segment.terminology.entry(), **segment.tags}
        fields = {
            "ID": f"Segment_{number + 1}",
            "Name": _header_text(segment.name),
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{channel:.6f}" for channel in segment.color),
            "ColorAutoGenerated": "0",
            "Layer": str(layer),
            "LabelValue": str(value),
            "Extent": _extent(segment.mask),
            "Tags": "".join(f"{_header_text(key, ':')}:{_header_text(text)}|" for key, text in tags.items()),
        }
        for key, text in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    return image


def _label_map(segments: Sequence[Segment], volume: Volume, path: Path) -> np.ndarray:
    labels = np.zeros(volume.shape, _label_type(len(segments)))
    for number, segment in enumerate(segments, start=1):
        if labels[segment.mask].any():
            other = segments[int(labels[segment.mask].max()) - 1].name
            raise OutputError(
                f"'{segment.name}' overlaps '{other}', which a label map such as '{path.name}' cannot hold.",
                "Write a .seg.nrrd file, or one file for each.",
            )
        labels[segment.mask] = number
    return labels


def _write_png(path: Path, segments: Sequence[Segment], volume: Volume) -> None:
    check_slices(path, volume)
    labels = _label_map(segments, volume, path)[0]
    if len(segments) == 1:
        labels = labels * 255
    with atomic_path(path) as temporary:
        _save_png(labels, temporary, marked=True)


def _save_png(pixels: np.ndarray, path: Path, marked: bool) -> None:
    text = PngInfo()
    if marked:
        text.add_text(KEY, MARK)
    Image.fromarray(pixels).save(path, pnginfo=text)


def _write_image(path: Path, image: sitk.Image) -> None:
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, itk_path(temporary), useCompression=True)
            complete = sitk.Hash(sitk.ReadImage(str(temporary))) == sitk.Hash(image)  # ITK is silent on a full disk
            if not complete:
                raise RuntimeError("the file is incomplete")
        except RuntimeError as error:
            if shutil.disk_usage(temporary.parent).free < FULL_DISK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise OutputError(f"Cannot write '{path}'.", "Check the permissions and the free space.") from error


def _label_type(count: int) -> type[np.unsignedinteger]:
    return np.uint8 if count < 256 else np.uint16


def _extent(mask: np.ndarray) -> str:
    """Format the bounding box as Slicer does, "i0 i1 j0 j1 k0 k1"; "0 -1 0 -1 0 -1" for an empty mask."""
    bounds = []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds += [used[0], used[-1]] if used.size else [0, -1]
    return " ".join(str(bound) for bound in bounds)


def _header_text(text: str, also: str = "") -> str:
    """Clean text for one header line: no line breaks, and no '|', which separates tags."""
    return re.sub(rf"[\s|{also}]+", " ", text).strip()
