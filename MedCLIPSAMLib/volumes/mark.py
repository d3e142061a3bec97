"""The mark in masks, maps and overlays that this program writes, so that they are not taken for images to segment."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

MARK = "Result of MedCLIPSAM"
"""In the text of a PNG, the description of a NIfTI file, and a field of NRRD and MetaImage headers."""

KEY = "Description"
HEAD = 1 << 15
"""Number of bytes at the beginning of a file that hold it."""


def is_marked(path: Path) -> bool:
    """Tell whether a file is marked as a result of this program; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                head = file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return False
    return MARK.encode() in head
