"""A volume: voxels with their geometry in the patient, and how to display them."""

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
"""Names of files that cannot be on Windows, whatever their ending."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One 3-D image.

    Attributes:
        array: (K, J, I) voxels, integers or floats of any type, or (K, J, I, 3) of uint8 (RGB); a view that cannot be
            written to. High values are bright; bool becomes 0 and 1.
        geometry: where the voxels lie in the patient.
        name: short, printable, fit for a file name.
        modality: the DICOM tag (0008,0060), such as "CT"; None where unknown.
        window: (center, width) for display, from the file; None where it has none.
        curve: how values become brightness where the file says so and it is no window (a VOI LUT).
        path: the file or folder it was read from.
        files: the DICOM file of each slice, in their order; empty where there is no such file.
        forms: the matrices of a NIfTI file, which are kept in NIfTI files written for this volume.
        notes: sentences for the user on how it was read.
        natural: an image without anatomical orientation (PNG, ultrasound, radiograph): shown as it is stored.
        known_spacing: whether the spacing is that of the body. PNG, JPEG, TIFF and BMP know at most that of a printer;
            files written on their grid are marked (`mark.UNKNOWN_SPACING`).
        magnification: how many times larger than in the body things are at the spacing of a radiograph, the detector's.

    Raises:
        InputError: voxels of another shape or type.
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
            raise InputError(f"Expected {expected}, got {self.array.dtype}.", "Convert them by array.astype.")
        view = self.array.view(np.uint8 if self.array.dtype == bool else self.array.dtype)
        view.flags.writeable = False
        object.__setattr__(self, "array", view)

    @staticmethod
    def from_sitk(image: sitk.Image, name: str = "volume", **known: Any) -> Volume:
        """Make a volume from the voxels and the geometry of a 3-D image; `known` are further attributes."""
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
    """Shorten `text` to a printable name without path separators and control characters; "volume" if none is left.

    Names that Windows keeps for devices, "CON" or "aux.1", get a "_" in front.
    """
    text = unicodedata.normalize("NFC", text)
    text = re.sub(r"[^\w .,+()=-]+", "_", text)
    text = re.sub(r"\s+", " ", text).strip(" ._")[:80].strip(" ._") or "volume"
    return f"_{text}" if DEVICES.fullmatch(text) else text


def stem(path: Path) -> str:
    """Return the file name without its suffix, taking .nii.gz, .seg.nrrd and the like as one suffix."""
    for suffix in FILE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem
