"""Write a file under a temporary name and then rename it, so that a killed run leaves no half-written file."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from ..errors import OutputError
from .lock import LOCK, lock_file, remove_lock

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.partial(\.[A-Za-z0-9.]+)?")
"""Names of temporary folders, and of the temporary files that earlier versions wrote."""


@contextmanager
def atomic_path(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path for `path`, which is renamed to `path` if the block succeeds and removed otherwise.

    The temporary file is in a hidden folder beside `path`, so that nothing that lists the files there mistakes it for
    data. Its name has the suffixes of `path` (".nii.gz") in lower case, because writers choose the format by them. If
    the run is killed, the next run that writes `path`, or `sweep`, removes the temporary file.

    Args:
        private: create the file empty beforehand, readable by its owner only.

    Raises:
        OutputError: the parent folder is missing, `path` is a folder, or the file cannot be written.
    """
    path = Path(path)
    check_writable(path)
    endings = [ending.lower() for ending in path.suffixes[-2:] if len(ending) < 20 and ending.isascii()]
    try:
        with _temporary_folder(path) as folder:
            temporary = folder / f"data{''.join(endings)}"
            if private:
                temporary.touch(mode=0o600)
            yield temporary
            with open(temporary, "rb+") as file:  # a full disk may show only now
                os.fsync(file.fileno())
            move(temporary, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write '{path}': {error.strerror or error}.",
            "Check the permissions and the free space, and whether another program has it open.",
        ) from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Make a locked folder beside `path`, whose name is fixed unless another run is writing `path`; remove it after."""
    usual = path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.partial")
    if usual.is_dir() and not usual.is_symlink():
        with suppress(OSError, OutputError):  # the lock of a living run
            _remove(usual, lock_file(usual / LOCK))
    try:
        folder, lock = usual, _make_locked(usual)
    except (FileExistsError, FileNotFoundError, BlockingIOError):  # another run uses it, or has just swept it away
        folder = path.with_name(f".{secrets.token_hex(4)}.partial")
        lock = _make_locked(folder)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def move(source: Path, target: Path) -> None:
    """Rename a file, replacing an existing one, or a folder.

    On Windows, this fails while any program has one of the files open. Virus scanners and search indexers open every
    new file for a moment, so the renaming is retried for three seconds.
    """
    for pause in (0.1, 0.2, 0.4, 0.8, 1.5, 0.0):
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if not pause or not getattr(error, "winerror", 0):  # only set on Windows
                raise
        time.sleep(pause)


def _make_locked(folder: Path) -> TextIOWrapper | None:
    """Make a folder and lock it; return None on a file system without locks, where `sweep` removes the folder."""
    folder.mkdir()
    try:
        return lock_file(folder / LOCK)
    except OutputError:
        return None
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        raise


def _remove(folder: Path, lock: TextIOWrapper | None) -> None:
    """Remove a temporary folder as far as possible; its lock goes last, which frees the name for another run."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != LOCK:
                _discard(path)
    if lock is not None:
        remove_lock(lock, folder / LOCK)
    with suppress(OSError):
        folder.rmdir()


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def is_temporary(path: Path) -> bool:
    """Tell whether a path has the name of a temporary folder made by `atomic_path`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def sweep(folder: Path) -> None:
    """Remove what killed runs left half-written in a folder and its direct subfolders.

    The caller must hold the lock of the folder, so that no other run is writing to it.
    """
    for path in [*folder.glob(".*.partial*"), *folder.glob("*/.*.partial*")]:
        if not is_temporary(path) or path.is_symlink():
            continue
        _discard(path)


def check_place(path: Path, may_be_file: bool = False) -> None:
    """Refuse a path at which no folder can be created.

    Args:
        may_be_file: accept `path` itself if it is an existing file.

    Raises:
        OutputError: the path is "-", or it or one of its parents is a file.
    """
    if str(path) == "-":
        raise OutputError("'-' names no file: nothing is written to the standard output.", "Give a path.")
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), None)
    if there is not None and not there.is_dir() and not (may_be_file and there == path):
        raise OutputError(f"'{there}' is a file, not a folder.", "Choose another path.")


def check_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before any long work starts.

    Raises:
        OutputError: the parent folder is missing or read-only, or `path` is a folder; see also `check_place`.
    """
    check_place(path.parent)
    check_place(path, may_be_file=True)
    if not path.parent.is_dir():
        raise OutputError(f"Cannot write '{path}': the folder '{path.parent}' does not exist.", "Create it first.")
    if path.is_dir():
        raise OutputError(f"Cannot write '{path}': it is a folder.", "Give a file name in it.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"Cannot write '{path}': the folder '{path.parent}' is read-only for you.", "Choose another folder."
        )
