"""Padding of DICOM images: pixels around the image that are not image data (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from MedCLIPSAMLib.volumes.dicom_values import numbers


def find_padding(words: np.ndarray, values: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Find the pixels with the padding value, or between it and the limit of its range; None if there are none.

    Args:
        words: the stored words including unused bits, which the padding value may set.
        values: the values without unused bits.
        header: header of the file.
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
            continue  # such as a 16-bit value left in an 8-bit image that was derived from a 16-bit one
        array = array.view(np.dtype(f"{'i' if signed else 'u'}{array.itemsize}"))
        # Programs write the value with or without a sign, whatever the signedness of the pixels
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
    """Set padding to the lowest value of the image, with a note.

    A single padding value below all of the image is kept, because it looks like background. In CT, which pads with
    values below air and has its own windows, only padding above all values of the image is changed. A padding value
    within the range of the image counts as padding only where it reaches the edge, because programs write a padding
    value of 0 with images that contain zeros.
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
        f"{np.count_nonzero(padded)} voxels are padding, not image data (Pixel Padding Value): they were set to the "
        f"lowest value, {lowest:g}."
    )
    return np.where(padded, lowest, array)


def _reaching_edge(mask: np.ndarray) -> np.ndarray:
    """Keep regions that are connected to the edge of their image, (K, J, I)."""
    edge = np.ones(mask.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    kept = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        whole, seeds = (sitk.GetImageFromArray(part.astype(np.uint8)) for part in (mask[k], mask[k] & edge))
        kept[k] = sitk.GetArrayFromImage(sitk.BinaryReconstructionByDilation(seeds, whole, 0, 1)) > 0
    return kept
