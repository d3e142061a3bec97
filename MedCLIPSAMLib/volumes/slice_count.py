"""Number of slices of an image from its header, before any long work."""

from __future__ import annotations

from pathlib import Path

from MedCLIPSAMLib.errors import MedCLIPSAMError
from MedCLIPSAMLib.files.regular import check_regular
from MedCLIPSAMLib.volumes.archive import is_zip
from MedCLIPSAMLib.volumes.dicom_geometry import choose_part, find_parts
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, frames_of, is_dicom, is_directory, quiet, read_header
from MedCLIPSAMLib.volumes.dicom_series import choose_series, find_series
from MedCLIPSAMLib.volumes.itk_header import check_header
from MedCLIPSAMLib.volumes.itk_read import itk_header
from MedCLIPSAMLib.volumes.nifti import count_slices
from MedCLIPSAMLib.volumes.nifti_file import find_nifti
from MedCLIPSAMLib.volumes.nrrd import with_kinds
from MedCLIPSAMLib.volumes.raster import raster_format
from MedCLIPSAMLib.volumes.read import read_volume


def slice_count(path: Path, series: str | None = None) -> int | None:
    """Count the slices of an image; None if its header cannot be read.

    TIFF, in which pages of different sizes are not slices, and zip files are read completely.

    Args:
        path: the image or DICOM folder.
        series: choice of a series in a DICOM folder (`Series.handle`).
    """
    try:
        check_regular(path)
        with quiet():
            return _count(path, series)
    except (MedCLIPSAMError, *DAMAGED):
        return None


def _count(path: Path, series: str | None) -> int | None:
    if path.is_dir() or is_directory(path):
        folder = path if path.is_dir() else path.parent
        chosen = choose_series(find_series(folder)[0], series, folder, [])
        return len(choose_part(find_parts(chosen.frames(), "", []), None, "", []).frames)
    if is_dicom(path):
        return len(frames_of(path, read_header(path)))
    kind = raster_format(path)
    if kind == "TIFF" or is_zip(path):
        return read_volume(path, series).shape[0]
    if kind:
        return 1
    if nifti := find_nifti(path):
        return count_slices(nifti, path)
    check_header(path, [])
    with with_kinds(path) as plain:
        header = itk_header(plain)
    return None if header is None else (*header.size, 1)[2]
