"""Read an image file or a DICOM folder into a Volume."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes import dicom
from MedCLIPSAMLib.volumes.volume import Volume, clean_name, stem

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
ALPHA_NOTE = "The alpha channel was left out."
FORMATS = "DICOM (a file or a folder), NIfTI, NRRD, MetaImage, PNG, JPEG, BMP, TIFF"


def read_volume(path: str | Path, series: str | None = None) -> Volume:
    """Read a DICOM folder or file, NIfTI, NRRD, MetaImage, PNG, JPEG, BMP or TIFF.

    A 2-D image becomes a volume of one slice, shown as it is stored. RGBA loses its alpha; 16-bit RGB becomes 8-bit.
    NaN and infinite voxels become the lowest finite value. Each such change is said in `Volume.notes`.

    Args:
        series: the SeriesInstanceUID, where a DICOM folder holds several series.

    Raises:
        InputError: the path is missing, empty, truncated, of an unknown format, 4-D, or holds no usable voxels.
    """
    path = _existing(path)
    with _reading(path):
        known, image = dicom.read_series(path, series) if path.is_dir() else _read_file(path)
    notes = known.setdefault("notes", [])
    return Volume.from_sitk(_usable_voxels(_three_dimensional(image, path), path, notes), **known)


def read_image(path: str | Path) -> sitk.Image:
    """The voxels of one image file as they are, of any type and number of channels, 3-D; for masks and label maps.

    Raises:
        InputError: as `read_volume` does, but for the checks of the voxels.
    """
    path = _existing(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder.", "Give an image file.")
    with _reading(path):
        return _three_dimensional(_read_file(path)[1], path)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder '{path}'.", "Check the path.")
    return path


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the readers raise into an InputError."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    except (RuntimeError, OSError) as error:
        sheared = "orthonormal" in str(error)
        remedy = "Its axes are not at right angles: resample it first." if sheared else "Is the file complete?"
        raise InputError(f"'{path}' cannot be read: {_reason(error)}", remedy) from error


def _read_file(path: Path) -> tuple[dict[str, Any], sitk.Image]:
    if path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty (0 bytes).", "Copy or export it again.")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        with Image.open(path) as picture:
            picture.load()  # raises on truncated data, which ITK would fill with grey
            if picture.mode == "LA":  # which SimpleITK cannot read
                grey = sitk.GetImageFromArray(np.asarray(picture)[..., 0])
                return dict(name=clean_name(stem(path)), path=path, notes=[ALPHA_NOTE], natural=True), grey
    image_io = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
    if not image_io and _is_dicom(path):
        raise InputError(f"'{path}' is DICOM, but holds no complete image.", "Copy or export it again.")
    if not image_io:
        raise InputError(f"'{path}' is of no known image format.", f"Readable are: {FORMATS}.")
    header = dicom.read_header(path)
    _check_dimension(header, path)
    if image_io == "GDCMImageIO":
        return dicom.read_file(path)
    if image_io == "NiftiImageIO":
        _check_nifti_complete(path, header)
    natural = header.GetDimension() == 2 or path.suffix.lower() in PICTURE_SUFFIXES
    known = dict(
        name=clean_name(stem(path)),
        window=_nifti_window(header),
        path=path,
        natural=natural,
    )
    return known, sitk.ReadImage(str(path))


def _check_dimension(header: sitk.ImageFileReader, path: Path) -> None:
    size = header.GetSize()
    if any(extent > 1 for extent in size[3:]):
        shape = " x ".join(str(extent) for extent in size)
        raise InputError(
            f"'{path}' is {len(size)}-D ({shape}), not a single volume.",
            'Save one time point, for example: python -c "import SimpleITK as s; '
            f"s.WriteImage(s.ReadImage('{path.name}')[..., 0], 'one.nii.gz')\"",
        )


def _three_dimensional(image: sitk.Image, path: Path) -> sitk.Image:
    while image.GetDimension() > 3:
        image = image[..., 0]
    if image.GetDimension() == 2:
        image = sitk.JoinSeries(image)
    if 0 in image.GetSize():
        raise InputError(f"'{path}' has no voxels: its size is {image.GetSize()}.")
    return image


def _usable_voxels(image: sitk.Image, path: Path, notes: list[str]) -> sitk.Image:
    """The image as scalar or RGB uint8 with finite voxels; what was changed goes to `notes`."""
    components = image.GetNumberOfComponentsPerPixel()
    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"'{path}' holds complex numbers.", "Save the magnitude first.")
    if components in (3, 4):
        return _rgb(image, path, notes)
    if components > 1:
        raise InputError(f"'{path}' has {components} values per voxel.", "Only grey and RGB(A) images can be used.")
    array = sitk.GetArrayViewFromImage(image)
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.any():
            raise InputError(f"'{path}' holds no finite voxel (all are NaN or infinite).", "Export it again.")
        if not finite.all():
            notes.append(f"{int((~finite).sum())} NaN or infinite voxels were set to the lowest value.")
            cleaned = sitk.GetImageFromArray(np.where(finite, array, array[finite].min()))
            cleaned.CopyInformation(image)
            image, array = cleaned, sitk.GetArrayViewFromImage(cleaned)
    if array.min() == array.max():
        notes.append(f"The image is constant: every voxel is {array.flat[0]:g}.")
    return image


def _rgb(image: sitk.Image, path: Path, notes: list[str]) -> sitk.Image:
    pixel_type = image.GetPixelIDTypeAsString()
    if "8-bit unsigned" not in pixel_type and "16-bit unsigned" not in pixel_type:
        raise InputError(
            f"'{path}' has {image.GetNumberOfComponentsPerPixel()} values per voxel ({pixel_type}): no RGB image.",
            "Only grey and RGB(A) images can be used.",
        )
    channels = [sitk.VectorIndexSelectionCast(image, channel) for channel in range(3)]
    if image.GetNumberOfComponentsPerPixel() == 4:
        notes.append(ALPHA_NOTE)
    if "16-bit" in pixel_type:
        notes.append("16-bit RGB was reduced to 8-bit.")
        channels = [sitk.Cast(sitk.ShiftScale(channel, 0, 1 / 257), sitk.sitkUInt8) for channel in channels]
    return sitk.Compose(channels)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _check_nifti_complete(path: Path, header: sitk.ImageFileReader) -> None:
    """ITK reads a truncated NIfTI without complaint and leaves the rest of the voxels undefined."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    voxel_bytes = math.prod(header.GetSize()) * int(header.GetMetaData("bitpix")) // 8
    missing = int(float(header.GetMetaData("vox_offset"))) + voxel_bytes
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            while block := file.read(1 << 22):
                missing -= len(block)
    except (EOFError, zlib.error):
        missing = max(missing, 1)
    if missing > 0:
        raise InputError(f"'{path}' is truncated: voxels are missing at its end.", "Copy or export it again.")


def _nifti_window(header: sitk.ImageFileReader) -> tuple[float, float] | None:
    """(centre, width) from NIfTI's cal_min and cal_max, its display range."""
    if not (header.HasMetaDataKey("cal_min") and header.HasMetaDataKey("cal_max")):
        return None
    low, high = float(header.GetMetaData("cal_min")), float(header.GetMetaData("cal_max"))
    return ((low + high) / 2, high - low) if high > low else None


def _reason(error: Exception) -> str:
    """The last line of an ITK message, without its class and address."""
    line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    line = line.split("): ")[-1].strip().rstrip(".")
    return "it is damaged or incomplete." if "No such file" in line else f"{line}."
