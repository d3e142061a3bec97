"""Paths from one place to another, as this system and others write them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path


def relative_path(path: Path, folder: Path) -> Path:
    """Return a path as seen from a folder; where it lies on another drive of Windows, as it is seen from anywhere."""
    try:
        return Path(os.path.relpath(path, folder))
    except ValueError:
        return path.absolute()


def spellings(folder: Path, name: str) -> Iterator[Path]:
    """Yield the paths that a name in a table of this folder may mean, the likeliest first.

    It may have the separators of Windows, and accents in one character or two (macOS).
    """
    for text in dict.fromkeys((name, name.replace("\\", "/"))):
        yield folder / text
        yield from (folder / unicodedata.normalize(form, text) for form in ("NFC", "NFD"))


def listed_path(folder: Path, name: str) -> Path:
    """Return the path that a table of this folder names: of what is there, else as it is written."""
    return next((path for path in spellings(folder, name) if path.exists()), folder / name)
