"""Marks in files that this program writes: for results, which are not images to segment, and for unknown spacings."""

from __future__ import annotations

import zlib
from pathlib import Path

from MedCLIPSAMLib.volumes.nifti_file import open_content

MARK = "Result of MedCLIPSAM"
"""Stored in the text of a PNG, the description of a NIfTI file, or a field of an NRRD or MetaImage header."""

UNKNOWN_SPACING = "pixels of unknown size"
"""Stored with or without `MARK` in files on the grid of an image that does not say how large a pixel is."""

KEY = "Description"
HEAD = 1 << 15
"""Number of bytes at the beginning of a file that contain a mark."""


def is_marked(path: Path, mark: str = MARK) -> bool:
    """Tell whether a file has a mark, by default that of a result; False if it cannot be read."""
    try:
        with open_content(path) as file:
            return mark.encode() in file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return False
