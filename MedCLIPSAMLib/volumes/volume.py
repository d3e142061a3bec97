"""A volume: voxels with their place in the patient, and what is known about how to show them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

FILE_SUFFIXES = (".seg.nrrd", ".nii.gz")


@dataclass(frozen=True)
class Volume:
    """One 3-D image. Geometry is ITK's: patient positions in LPS (left, posterior, superior), mm.

    Attributes:
        image: 3-D, I x J x K voxels, scalar of any type or three components of uint8 (RGB).
        name: short, printable, fit for a file name.
        modality: the DICOM tag (0008,0060), such as "CT"; None where unknown.
        window: (centre, width) for display, from the file; None where it has none.
        path: the file or folder it was read from.
        notes: what the user should know about how it was read.
        natural: a picture without anatomical orientation (PNG, ultrasound, radiograph): shown as it is stored.
        inverted: high values are dark (DICOM MONOCHROME1).
    """

    image: sitk.Image
    name: str = "volume"
    modality: str | None = None
    window: tuple[float, float] | None = None
    path: Path | None = None
    notes: list[str] = field(default_factory=list)
    natural: bool = False
    inverted: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(K, J, I): the shape of arrays on this grid."""
        i, j, k = self.image.GetSize()
        return k, j, i

    @property
    def is_rgb(self) -> bool:
        return self.image.GetNumberOfComponentsPerPixel() == 3

    @property
    def array(self) -> np.ndarray:
        """A read-only view of the voxels, (K, J, I) or (K, J, I, 3)."""
        return sitk.GetArrayViewFromImage(self.image)

    def image_like(self, array: np.ndarray) -> sitk.Image:
        """A (K, J, I) array on this grid as an image with this volume's origin, spacing and directions."""
        if array.shape != self.shape:
            raise ValueError(f"an array of shape {array.shape} does not fit the grid (K, J, I) = {self.shape}")
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(self.image)
        return image


def clean_name(text: str) -> str:
    """`text` as a short printable name without path separators and control characters; "volume" if none is left."""
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"[^\w .,+()=-]+", "_", text)
    return re.sub(r"\s+", " ", text).strip(" ._")[:80] or "volume"


def stem(path: Path) -> str:
    """The file name without its suffix, taking .nii.gz and .seg.nrrd as one suffix."""
    for suffix in FILE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
