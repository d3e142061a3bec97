"""The mark in masks, maps and overlays that this program writes, by which they are known as no images to segment."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

MARK = "Result of MedCLIPSAM"
"""In the text of a PNG, the description of a NIfTI file, and a field of NRRD and MetaImage headers."""

KEY = "Description"
HEAD = 1 << 15
"""Bytes at the beginning of a file in which it stands."""


def is_marked(path: Path) -> bool:
    """Whether a file says that this program wrote it as a result; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                head = file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return False
    return MARK.encode() in head
