"""Paths from one place to another."""

from __future__ import annotations

import os
from pathlib import Path


def relative_path(path: Path, folder: Path) -> Path:
    """Return a path as seen from a folder; where it lies on another drive of Windows, as it is seen from anywhere."""
    try:
        return Path(os.path.relpath(path, folder))
    except ValueError:
        return path.absolute()
