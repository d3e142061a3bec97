"""Reading of an image file, a DICOM folder or a zip file as a `Volume`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from MedCLIPSAMLib.errors import PATH, InputError, MedCLIPSAMError, check_type, without_controls
from MedCLIPSAMLib.files.regular import check_regular, pointer
from MedCLIPSAMLib.volumes import dicom
from MedCLIPSAMLib.volumes.archive import is_zip, names_in, unpack_zip
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, is_dicom, quiet
from MedCLIPSAMLib.volumes.geometry import UNPLACED_NOTE, Geometry, check_spacing, straight
from MedCLIPSAMLib.volumes.itk_header import check_header, rest_notes
from MedCLIPSAMLib.volumes.itk_read import itk_header, itk_image
from MedCLIPSAMLib.volumes.mark import UNKNOWN_SPACING, is_marked
from MedCLIPSAMLib.volumes.meta_image import unpacked
from MedCLIPSAMLib.volumes.nifti import read_nifti
from MedCLIPSAMLib.volumes.nifti_file import VECTOR, beside, find_analyze, find_nifti, is_bzip2, is_packed, read_analyze
from MedCLIPSAMLib.volumes.nrrd import ONE_VALUE, with_kinds
from MedCLIPSAMLib.volumes.raster import raster_format, read_raster, reduce_colors
from MedCLIPSAMLib.volumes.suffixes import IMAGE_SUFFIXES, PAIR_SUFFIXES, VOXEL_SUFFIXES, misnamed_notes
from MedCLIPSAMLib.volumes.tiff import ALPHA_NOTE
from MedCLIPSAMLib.volumes.volume import Volume, clean_name, stem

FORMATS = "DICOM (a file, a folder or a zip file), NIfTI, NRRD, MetaImage, PNG, JPEG, BMP, TIFF"
FREESURFER = (".mgz", ".mgh")
SHEAR_REMEDY = (
    "Resample it, for example: python -c \"import SimpleITK as s; i = s.ReadImage('{name}'); "
    "s.WriteImage(s.Resample(i, i.GetSize(), s.Transform(), s.sitkLinear, i.GetOrigin(), i.GetSpacing()), "
    "'straight.nrrd')\""
)


def read_volume(path: str | Path, series: str | None = None, phase: str | None = None) -> Volume:
    """Read a DICOM folder or file, a zip file, NIfTI, NRRD, MetaImage, PNG, JPEG, BMP or TIFF.

    The format is detected from the content, not the name. A 2-D image becomes a volume of one slice. RGBA loses its
    alpha channel; 16-bit RGB becomes 8-bit. NaN and infinite voxels become the lowest finite value. `Volume.notes`
    describes what was changed, left out or is in doubt.

    Args:
        path: the file or folder.
        series: for a DICOM folder with several series: UID, number, or words of the description of one.
        phase: for a DICOM series with several images at one position, see `dicom.read_folder`.

    Raises:
        InputError: the path is missing, empty, truncated, of an unknown format, 4-D, or holds no usable voxels.
    """
    path = _existing(path)
    with reading(path):
        volume = _read(path, series, phase)
    notes = list(volume.notes)
    array = _finite(volume.array, path, notes)
    return replace(volume, array=array, notes=[without_controls(note).replace("\n", " ") for note in notes])


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is an image; the header of a pair only counts if its voxels are beside it."""
    name = path.name.lower()
    return name.endswith(IMAGE_SUFFIXES) and not (name.endswith(PAIR_SUFFIXES) and beside(path, VOXEL_SUFFIXES) is None)


def read_image(path: str | Path) -> sitk.Image:
    """Read one image file of any type and number of channels as a 3-D image; for masks and label maps.

    Raises:
        InputError: as for `read_volume`, except that the voxels are not checked.
    """
    path = _existing(path)
    if path.is_dir():
        raise InputError(f"'{path}' is a folder.", "Give an image file.")
    with reading(path):
        if is_dicom(path):
            return dicom.read_file(path).to_sitk()
        if raster_format(path):
            array, geometry, _ = read_raster(path, [], is_mask=True)
        elif nifti := find_nifti(path):
            array, _, geometry, _ = read_nifti(nifti, path, [])
        else:
            return _by_itk(path, [])
        image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
        geometry.place(image)
        return image


def _existing(path: str | Path) -> Path:
    check_type(path, PATH, "the path of an image")
    path = Path(path)
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long
        raise InputError(f"'{path}' is not a valid path: {error.strerror}.", "Check the path.") from error
    if not there and path.is_symlink():
        raise InputError(f"'{path}' is a link to a missing file.", "Copy or fetch that file too.")
    if not there:
        raise InputError(f"There is no file or folder '{path}'.", "Check the path.")
    check_regular(path)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"'{path}' is empty (0 bytes).", "Copy or export it again.")
    return path


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert errors of the readers to an InputError."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with quiet():
            yield
    except MedCLIPSAMError:
        raise
    except MemoryError as error:
        raise InputError(
            f"'{path}' is too large for the memory of this machine.", "Use a machine with more memory."
        ) from error
    except DAMAGED as error:
        raise InputError(f"'{path}' cannot be read: {_reason(error)}", "Check that the file is complete.") from error


def _read(path: Path, series: str | None, phase: str | None) -> Volume:
    if path.is_dir():
        return dicom.read_folder(path, series, phase)
    if is_zip(path):
        return _read_zip(path, series, phase)
    if is_dicom(path):
        volume = dicom.read_file(path, series, phase)
        return replace(volume, notes=[*misnamed_notes(path, "DICOM"), *volume.notes])
    if series is not None:
        raise InputError(f"'{path}' is a single file: it has no series '{series}'.", "Leave --series out.")
    if phase is not None:
        raise InputError(f"'{path}' is not a DICOM file: it has no phase '{phase}'.", "Leave --phase out.")
    notes: list[str] = []
    kind = COLORS[0]
    if raster := raster_format(path):
        notes += misnamed_notes(path, f"a {raster} image")
        array, geometry, known = read_raster(path, notes)
    elif nifti := find_nifti(path):
        packed = f"NIfTI compressed by {'bzip2' if is_bzip2(path) else 'gzip'}"
        notes += misnamed_notes(path, packed if is_packed(path) else "uncompressed NIfTI")
        array, kind, geometry, known = read_nifti(nifti, path, notes)
    else:
        image = _by_itk(path, notes)
        array, geometry = sitk.GetArrayFromImage(image), Geometry.from_sitk(image)
        if analyze := find_analyze(path):
            array = read_analyze(analyze, notes)
            notes.append(UNPLACED_NOTE)
        kind = image.GetMetaData(PIXEL_KIND) if image.HasMetaDataKey(PIXEL_KIND) else VECTOR
        known = {"name": clean_name(stem(path)), "path": path, "natural": image.HasMetaDataKey(FLAT)}
    known = {"known_spacing": not is_marked(path, UNKNOWN_SPACING), **known}
    voxels = np.ascontiguousarray(_one_or_rgb(array, kind, path, notes))
    return Volume(voxels, geometry, notes=notes, **known)


def _read_zip(path: Path, series: str | None, phase: str | None) -> Volume:
    """Read the DICOM series in a zip file, or its only image."""
    with unpack_zip(path) as folder:
        files = [file for file in folder.rglob("*") if file.is_file()]
        headers = [file for file in files if file.name.lower().endswith(PAIR_SUFFIXES)]
        images = [file for file in files if is_image(file)] or headers  # reading a header tells what is missing
        has_dicom = any(map(is_dicom, files))
        if not has_dicom:
            _check_zip(path, files, images)
        inside = folder if has_dicom or not images else images[0]
        try:
            volume = _read(inside, series, phase)
        except MedCLIPSAMError as error:
            said = (text.replace(f"The folder '{inside}'", f"'{path}'") for text in (error.problem, error.remedy))
            raise InputError(*(text.replace(str(inside), str(path)) for text in said)) from error
        unnamed = volume.name in (clean_name(folder.name), *(clean_name(stem(image)) for image in images))
        notes = [*misnamed_notes(path, "a zip file"), *volume.notes]
        name = clean_name(stem(path)) if unnamed else volume.name
        return replace(volume, path=path, name=name, files=(), notes=notes)


def _check_zip(path: Path, files: list[Path], images: list[Path]) -> None:
    """Refuse a zip file without DICOM that holds nothing, several images, or only other zip files.

    Raises:
        InputError: the file is refused; the message lists its contents.
    """
    if not files:
        raise InputError(f"'{path}' is a zip file that holds no files.", "Zip the images again.")
    if len(images) > 1:
        endings = tuple(end for end in IMAGE_SUFFIXES if any(image.name.lower().endswith(end) for image in images))
        raise InputError(
            f"'{path}' holds {len(images)} images, and no DICOM: {names_in(path, endings)}.",
            "Unpack it, and give one of them.",
        )
    packed = [file for file in files if file.stat().st_size and is_zip(file)]
    if packed and not images:
        raise InputError(
            f"'{path}' holds no image, but zip files: {names_in(path, ('.zip',)) or len(packed)}.",
            "Unpack it, and give one of them.",
        )


PIXEL_KIND = "NRRD_kinds[pixel]"
"""ITK's metadata key for the meaning of several values per voxel in an NRRD header."""
COLORS = ("RGB-color", "RGBA-color", "3-color", "4-color")
FLAT = "MedCLIPSAM.Flat"
"""Metadata key that marks a two-dimensional image in memory."""


def _by_itk(path: Path, notes: list[str]) -> sitk.Image:
    """Read a 3-D image whose axes are at right angles."""
    with path.open("rb") as file:
        if found := pointer(file.read(100)):
            raise InputError(f"'{path}' is {found}.", "Fetch it (git lfs pull, git annex get).")
    if kind := check_header(path, notes):
        notes += misnamed_notes(path, kind)
    with with_kinds(path) as plain:
        return _checked(plain, path, notes)


def _checked(plain: Path, path: Path, notes: list[str]) -> sitk.Image:
    """Read an image whose header has been checked.

    Args:
        plain: the file to read.
        path: the file that `plain` stands for, for messages.
    """
    header = itk_header(plain)
    if header is None:
        if path.name.lower().endswith(FREESURFER):
            raise InputError(
                f"'{path}' is a FreeSurfer image, which is not supported.",
                'Save it as NIfTI, for example: python -c "import nibabel as n; '
                f"n.save(n.Nifti1Image.from_image(n.load('{path.name}')), 'one.nii.gz')\"",
            )
        if is_packed(path):
            by = "bzip2" if is_bzip2(path) else "gzip"
            raise InputError(
                f"'{path}' is compressed by {by}, but holds no complete NIfTI.", "Unpack it, and give its content."
            )
        raise InputError(f"'{path}' has no known image format.", f"Readable formats: {FORMATS}.")
    size, spacing = header.size, header.spacing
    if any(extent > 1 for extent in size[3:]):
        raise InputError(
            f"'{path}' is {len(size)}-D ({' x '.join(str(extent) for extent in size)}), not a single volume.",
            'Save one time point, for example: python -c "import SimpleITK as s; '
            f"s.WriteImage(s.ReadImage('{path.name}')[..., 0], 'one.nii.gz')\"",
        )
    if 0 in size:
        raise InputError(f"'{path}' has no voxels: its size is {size}.", "Export it again.")
    check_spacing(spacing, f"'{path}'")
    if header.is_flipped:
        notes.append("A distance between its voxels is negative: the axis was reversed, as in 3D Slicer.")
    with unpacked(plain) as readable:
        image = itk_image(readable)
    notes += rest_notes(path, sitk.GetArrayViewFromImage(image).nbytes)
    while image.GetDimension() > 3:
        image = image[..., 0]
    if image.GetDimension() == 2:
        keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        image = sitk.JoinSeries(image)
        for key, value in {**keys, FLAT: "1"}.items():
            image.SetMetaData(key, value)
    straight(Geometry.from_sitk(image).affine, f"'{path}'", notes, SHEAR_REMEDY.format(name=path.name)).place(image)
    return image


def _one_or_rgb(array: np.ndarray, kind: str, path: Path, notes: list[str]) -> np.ndarray:
    """Convert voxels to single numbers or RGB uint8, with a note on any change.

    Args:
        kind: meaning of several values per voxel, by NRRD's names. A vector of integers is treated as colors with a
            note, because SimpleITK writes colors as vectors in NIfTI and NRRD, and MetaImage has no name for them.
    """
    if array.dtype.kind == "c":
        raise InputError(f"'{path}' holds complex numbers.", "Save the magnitude first.")
    if array.ndim == 3:
        return array
    count = array.shape[3]
    one = f"save one of them, for example: {ONE_VALUE.format(name=path.name)}"
    remedy = f"Only gray and RGB(A) images can be used: {one}"
    if count not in (3, 4):
        raise InputError(f"'{path}' has {count} values per voxel.", remedy)
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(f"'{path}' has {count} values per voxel ({array.dtype}): not an RGB image.", remedy)
    if kind not in (*COLORS, VECTOR):
        raise InputError(
            f"'{path}' has {count} values per voxel that are not colors according to its header ({kind}).",
            f"If they are, correct the header (NRRD: kind {COLORS[count - 3]}; NIfTI: intent_code 2003); else {one}",
        )
    if kind == VECTOR:
        notes.append(f"The {count} values of a voxel were taken to be colors: the file does not say that they are.")
    if count == 4:
        notes.append(ALPHA_NOTE)
    return reduce_colors(array[..., :3], notes)


def _finite(array: np.ndarray, path: Path, notes: list[str]) -> np.ndarray:
    """Replace voxels that are not finite by the lowest finite value, with a note in `notes`."""
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.any():
            raise InputError(f"'{path}' holds no finite voxel (all are NaN or infinite).", "Export it again.")
        if not finite.all():
            notes.append(f"{int((~finite).sum())} NaN or infinite voxels were set to the lowest value.")
            array = np.where(finite, array, array[finite].min())
    if array.ndim == 3 and array.min() == array.max():
        notes.append(f"The image is constant: every voxel is {array.flat[0]:g}.")
    return array


def _reason(error: Exception) -> str:
    """Return the last line of an ITK message, without its class and address."""
    line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    line = line.split("): ")[-1].strip().rstrip(".")
    return "it is damaged or incomplete." if "No such file" in line else f"{line}."
