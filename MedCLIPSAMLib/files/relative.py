"""Relative paths, and the paths that tables from other systems name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def relative_path(path: Path, folder: Path) -> Path:
    """Return a path relative to a folder, or an absolute path if they are on different drives of Windows."""
    try:
        return Path(os.path.relpath(path, folder))
    except ValueError:
        return path.absolute()


def spellings(folder: Path, name: str) -> list[Path]:
    """List the paths that a name in a table of this folder may mean, the likeliest first.

    The name may have the separators of Windows, and accented letters as one character or as two (macOS).
    """
    texts = (name, name.replace("\\", "/"))
    accents = (unicodedata.normalize(form, text) for text in texts for form in ("NFC", "NFD"))
    return [folder / text for text in dict.fromkeys((*texts, *accents))]


def listed_path(folder: Path, name: str) -> Path:
    """Return the path that a table of this folder names: the first that exists, otherwise as it is written."""
    return next((path for path in spellings(folder, name) if path.exists()), folder / name)
