"""Count the slices of an image by its header alone."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from MedCLIPSAMLib.errors import MedCLIPSAMError
from MedCLIPSAMLib.files.regular import check_regular
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, frames_of, is_dicom, is_directory, quiet, read_header
from MedCLIPSAMLib.volumes.dicom_series import find_series
from MedCLIPSAMLib.volumes.itk_header import check_header
from MedCLIPSAMLib.volumes.itk_read import itk_header
from MedCLIPSAMLib.volumes.nifti_file import count_slices, find_nifti
from MedCLIPSAMLib.volumes.raster import count_pages, raster_format


def slice_count(path: Path, series: str | None = None) -> int | None:
    """Count the slices of what `read_volume` would read; None where only reading it would tell, or it cannot be read.

    Args:
        series: what chooses one in a DICOM folder (`Series.handle`).
    """
    try:
        with quiet():
            return _count(path, series)
    except (MedCLIPSAMError, Image.DecompressionBombError, SyntaxError, *DAMAGED):  # SyntaxError: Pillow's, of TIFF
        return None


def _count(path: Path, series: str | None) -> int | None:
    check_regular(path)
    if path.is_dir():
        found = [
            item
            for item in find_series(path, deep=False)[0]
            if not item.what and series in (None, item.uid, item.marked_uid)
        ]
        return len(found[0].frames()) if len(found) == 1 else None
    if is_directory(path):
        return _count(path.parent, series)
    if is_dicom(path):
        return len(frames_of(path, read_header(path)))
    if raster_format(path):
        return count_pages(path)
    if nifti := find_nifti(path):
        return count_slices(nifti)
    check_header(path, [])
    header = itk_header(path)
    if header is None:
        return None
    return header.size[2] if len(header.size) > 2 else 1
