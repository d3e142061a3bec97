"""Checks of a command's outputs: none may be an input, another output, or a file that the command did not make.

An existing output file is replaced only with `--overwrite`. A folder of outputs contains a file that says which command
made it; any other folder must be new or empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import OutputError
from .atomic import check_writable
from .claim import claim

MARKER = ".medclipsam.json"
"""File in a folder of outputs that records the command that made it."""

DETACHED = (".nhdr", ".mhd", ".mha", ".nrrd", ".hdr")
"""Suffixes of inputs that may refer to other files beside them."""


def check_outputs(inputs: Iterable[Path | None], outputs: Iterable[Path | None], overwrite: bool = False) -> None:
    """Refuse output files that must not be written, before any work starts.

    Args:
        inputs: files and folders; everything in a folder counts as an input. None is skipped.
        outputs: files to write. None stands for an output that was not requested.
        overwrite: allow replacing existing files.

    Raises:
        OutputError: an output is an input, by its resolved path or its inode; two outputs are the same file; a file
            exists and `overwrite` is false; or an output cannot be written.
    """
    read = [path for path in inputs if path is not None]
    written: list[Path] = []
    for path in outputs:
        if path is None:
            continue
        check_writable(path)
        for source in read:
            if _reads(source, path):
                raise OutputError(
                    f"'{path}' belongs to the input '{source}', which is never written to.", "Choose another output."
                )
        for other in written:
            if _same(other, path):
                raise OutputError(f"Two outputs are the same file '{path}'.", "Give each a different file.")
        if not overwrite and os.path.lexists(path):
            raise OutputError(f"'{path}' already exists.", "Choose another output, or replace it with --overwrite.")
        written.append(path)


def check_folders(folders: Iterable[Path], overwrite: bool = False) -> None:
    """Refuse existing folders that would be written as a whole, unless `overwrite` is set.

    Raises:
        OutputError: a folder exists.
    """
    for folder in folders:
        if os.path.lexists(folder) and not overwrite:
            raise OutputError(f"'{folder}' already exists.", "Choose another folder, or replace it with --overwrite.")


def claim_outputs(folder: Path, command: str, **request: Any) -> TextIOWrapper:
    """Lock a folder for outputs that is new, empty, or made by the same command; see `claim` for the returned lock.

    Args:
        request: what the outputs depend on, as JSON values; a folder of another request is refused.

    Raises:
        OutputError: another run is using the folder, it holds other files, or it cannot be written.
    """
    return claim(folder, MARKER, {"made by": f"medclipsam {command}", **request})


def _reads(source: Path, path: Path) -> bool:
    """Tell whether an output path is a file that would be read as part of `source`."""
    if _same(source, path):
        return True
    if not os.path.lexists(path):
        return False
    if source.is_dir():
        place = path.resolve()
        if place.is_relative_to(source.resolve()):
            return True
        about = path.stat() if path.exists() else None
        return (
            about is not None
            and about.st_nlink > 1
            and any(file.is_file() and _same(file, path) for file in source.rglob("*"))
        )
    if source.name.lower().endswith(DETACHED) and source.is_file() and _same(source.parent, path.parent):
        with source.open("rb") as file:
            return path.name.encode() in file.read(1 << 20)
    return False


def _same(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them does not exist
        return os.path.normcase(path.resolve()) == os.path.normcase(other.resolve())
