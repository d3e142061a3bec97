"""Marks in files that this program writes: a result and no image to segment, and a spacing that is none of the body."""

from __future__ import annotations

import zlib
from pathlib import Path

from MedCLIPSAMLib.volumes.nifti_file import open_content

MARK = "Result of MedCLIPSAM"
"""In the text of a PNG, the description of a NIfTI file, and a field of NRRD and MetaImage headers."""

UNKNOWN_SPACING = "pixels of unknown size"
"""Beside it or alone, in files on the grid of an image that does not say how large a pixel is."""

KEY = "Description"
HEAD = 1 << 15
"""Number of bytes at the beginning of a file that hold it."""


def is_marked(path: Path, mark: str = MARK) -> bool:
    """Tell whether a file is marked, as a result of this program or by another mark; False where it cannot be read."""
    try:
        with open_content(path) as file:
            return mark.encode() in file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return False
