"""File names for ITK: UTF-8 text, where Python also allows names of other bytes."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError


def itk_path(path: Path) -> str:
    """Return a path for ITK, which ends the whole process where a name is not valid text.

    Raises:
        InputError: the name, or that of a folder, holds bytes that are no UTF-8.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Expected a name in UTF-8, got {text!r}.", "Rename the file or folder, or copy it to another place."
        ) from error
    return text
