"""Padding of DICOM images: pixels around them that are no image data (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from MedCLIPSAMLib.volumes.dicom_values import numbers


def find_padding(words: np.ndarray, values: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Find the pixels of the padding value, or between it and the limit of its range; None where there is none.

    Args:
        words: as stored, with unused bits, which the padding value may set.
        values: without them.
    """
    if words.dtype.kind == "f":
        return _find_float(values, header)
    first = numbers(header.get("PixelPaddingValue"))
    if not first:
        return None
    ends = (int(first[0]), int((numbers(header.get("PixelPaddingRangeLimit")) or first)[0]))
    padded = np.zeros(values.shape, bool)
    signed = header.get("PixelRepresentation") == 1
    for array in (words,) if words is values else (words, values):
        bits = 8 * array.itemsize
        if not all(-(1 << bits - 1) <= end < 1 << bits for end in ends):
            continue  # of 16 bits, in an image derived from one, of 8 bits
        array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.itemsize}"))
        # Programs write the value with and without its sign, whatever that of the pixels
        low, high = sorted(int(np.array(end & ((1 << bits) - 1)).astype(array.dtype)) for end in ends)
        padded |= (low <= array) & (array <= high)
    return padded if padded.any() else None


def _find_float(values: np.ndarray, header: Dataset) -> np.ndarray | None:
    kind = "Float" if values.dtype.itemsize == 4 else "DoubleFloat"
    first = numbers(header.get(f"{kind}PixelPaddingValue"))
    if not first:
        return None
    limit = (numbers(header.get(f"{kind}PixelPaddingRangeLimit")) or first)[0]
    low, high = sorted(np.array([first[0], limit]).astype(values.dtype))
    padded = (low <= values) & (values <= high)
    return padded if padded.any() else None


def without_padding(array: np.ndarray, padded: np.ndarray, modality: str, notes: list[str]) -> np.ndarray:
    """Set padding to the lowest value of the image, with a note, unless it is one value below all, which is background.

    Of CT, which pads by values below air and has windows of its own, only padding above all of the image is changed. A
    padding value amid those of the image is taken for padding where it reaches the edge, as programs write a padding
    value of 0 with images that hold zeros.
    """
    image, others = array[~padded & np.isfinite(array)], array[padded]
    if not image.size or others.max() == others.min() < image.min():
        return array
    if modality == "CT" and others.max() <= image.max():
        return array
    lowest = image.min()
    amid = padded & (lowest <= array) & (array <= image.max())
    padded = padded & ~amid | _reaching_edge(amid)
    if not padded.any():
        return array
    notes.append(
        f"{np.count_nonzero(padded)} voxels are padding, no image data (Pixel Padding Value): they were set to the "
        f"lowest value, {lowest:g}."
    )
    return np.where(padded, lowest, array)


def _reaching_edge(mask: np.ndarray) -> np.ndarray:
    """Keep what is joined to the edge of its image, (K, J, I)."""
    edge = np.ones(mask.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    kept = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        whole, seeds = (sitk.GetImageFromArray(part.astype(np.uint8)) for part in (mask[k], mask[k] & edge))
        kept[k] = sitk.GetArrayFromImage(sitk.BinaryReconstructionByDilation(seeds, whole, 0, 1)) > 0
    return kept
