"""Volumes: voxels with their geometry in the patient, and how to display them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MedCLIPSAMLib.errors import InputError, check_type
from MedCLIPSAMLib.volumes.geometry import Geometry

if TYPE_CHECKING:
    import SimpleITK as sitk

    from MedCLIPSAMLib.volumes.nifti import NiftiMatrices
    from MedCLIPSAMLib.volumes.window import Curve

FILE_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii.bz2", ".hdr.gz", ".img.gz")
DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3])( *\..*)?", re.IGNORECASE)
"""Names that Windows does not allow for files, whatever their suffix."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D image.

    Attributes:
        array: (K, J, I) voxels, integers or floats of any type, or (K, J, I, 3) uint8 (RGB); a read-only view. High
            values are bright; bool becomes 0 and 1.
        geometry: position of the voxels in the patient.
        name: short printable name that is suitable for a file name.
        modality: DICOM tag (0008,0060), such as "CT"; None if unknown.
        window: (center, width) for display, from the file; None if it has none.
        curve: mapping of values to brightness, if the file defines it by more than a window (a VOI LUT).
        path: the file or folder from which it was read.
        files: the DICOM file of each slice, in order; empty without such files.
        forms: matrices of a NIfTI file, which are kept in NIfTI files written for this volume.
        notes: sentences for the user on how it was read.
        natural: whether it is an image without anatomical orientation (PNG, ultrasound, radiograph), shown as stored.
        known_spacing: whether the spacing is physical. PNG, JPEG, TIFF and BMP at most state that of a print; files
            written on their grid are marked (`mark.UNKNOWN_SPACING`).
        magnification: factor by which lengths at the spacing of a radiograph, which is that of the detector, exceed
            those in the body.

    Raises:
        InputError: the voxels have another shape or type.
    """

    array: np.ndarray
    geometry: Geometry = field(default_factory=Geometry)
    name: str = "volume"
    modality: str | None = None
    window: tuple[float, float] | None = None
    curve: Curve | None = None
    path: Path | None = None
    files: tuple[Path, ...] = ()
    forms: NiftiMatrices | None = None
    notes: list[str] = field(default_factory=list)
    natural: bool = False
    known_spacing: bool = True
    magnification: float = 1.0

    def __post_init__(self) -> None:
        check_type(self.array, np.ndarray, "voxels as an array (K, J, I)")
        check_type(self.geometry, Geometry, "a Geometry")
        if self.array.ndim != 3 and not (self.array.ndim == 4 and self.array.shape[3] == 3):
            raise InputError(
                f"Expected voxels (K, J, I), or (K, J, I, 3) of uint8, got the shape {self.array.shape}.",
                "Give a 2-D image one slice: image[None].",
            )
        if self.array.dtype.kind not in "biuf" or (self.is_rgb and self.array.dtype != np.uint8):
            expected = "RGB voxels of uint8" if self.is_rgb else "voxels of real numbers"
            raise InputError(f"Expected {expected}, got {self.array.dtype}.", "Convert them with array.astype.")
        view = self.array.view(np.uint8 if self.array.dtype == bool else self.array.dtype)
        view.flags.writeable = False
        object.__setattr__(self, "array", view)

    @staticmethod
    def from_sitk(image: sitk.Image, name: str = "volume", **known: Any) -> Volume:
        """Make a volume from the voxels and the geometry of a 3-D image; `known` holds further attributes."""
        import SimpleITK as sitk

        return Volume(sitk.GetArrayFromImage(image), Geometry.from_sitk(image), name, **known)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of arrays on this grid, (K, J, I)."""
        k, j, i = self.array.shape[:3]
        return k, j, i

    @property
    def is_rgb(self) -> bool:
        """Whether voxels are red, green and blue."""
        return self.array.ndim == 4

    def to_sitk(self, array: np.ndarray | None = None) -> sitk.Image:
        """Convert the volume, or another array (K, J, I) on its grid, to an image; the voxels are copied."""
        import SimpleITK as sitk

        if array is None:
            array = self.array
        elif array.shape != self.shape:
            raise ValueError(f"an array of shape {array.shape} does not fit the grid (K, J, I) = {self.shape}")
        image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
        self.geometry.place(image)
        return image


def clean_name(text: str) -> str:
    """Shorten `text` to a printable name without path separators and control characters; "volume" if nothing is left.

    Names that Windows reserves for devices, such as "CON" or "aux.1", get a leading "_".
    """
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"[^\w .,+()=-]+", "_", text)
    text = re.sub(r"\s+", " ", text).strip(" ._")[:80].strip(" ._") or "volume"
    return f"_{text}" if DEVICES.fullmatch(text) else text


def stem(path: Path) -> str:
    """Return the file name without its suffix; .nii.gz, .seg.nrrd and the like count as one suffix."""
    for suffix in FILE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
