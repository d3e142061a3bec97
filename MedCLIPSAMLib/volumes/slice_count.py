"""Count the slices of an image before long work."""

from __future__ import annotations

from pathlib import Path

from MedCLIPSAMLib.errors import MedCLIPSAMError
from MedCLIPSAMLib.files.regular import check_regular
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, frames_of, is_dicom, is_directory, quiet, read_header
from MedCLIPSAMLib.volumes.raster import raster_format
from MedCLIPSAMLib.volumes.read import read_volume


def slice_count(path: Path, series: str | None = None) -> int | None:
    """Count the slices of an image; None where it cannot be read.

    The kind of an image (PNG, JPEG, BMP) or the header of a DICOM file tells it; others are read.

    Args:
        series: what chooses one in a DICOM folder (`Series.handle`).
    """
    try:
        check_regular(path)
        if path.is_file() and raster_format(path) not in (None, "TIFF"):
            return 1
        if is_dicom(path) and not is_directory(path):
            with quiet():
                return len(frames_of(path, read_header(path)))
        return read_volume(path, series).shape[0]
    except (MedCLIPSAMError, *DAMAGED):
        return None
