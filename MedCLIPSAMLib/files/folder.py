"""Write a folder under a temporary name and rename it, so that a killed run leaves no half folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from .claim import LOCK, lock_file


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder for `path`; when the block succeeds it replaces `path`, else it is removed.

    It is beside `path` and locked. The next run for the same path removes what a killed run left.

    Raises:
        OutputError: another run is writing it, or it cannot be written; what was at `path` is left as it was.
    """
    temporary, old = (path.with_name(f".{path.name}{ending}") for ending in (".partial", ".old.partial"))
    try:
        if temporary.is_symlink() or old.is_symlink():
            raise OutputError(f"'{temporary}' or '{old}' is a link.", "Remove it.")
        temporary.mkdir(parents=True, exist_ok=True)
        lock = lock_file(temporary / LOCK)
    except BlockingIOError as error:
        raise OutputError(f"Another run is writing '{path}'.", "Wait for it, or choose another name.") from error
    except OSError as error:
        raise OutputError(f"'{path}' cannot be written: {error.strerror}.", "Choose another place.") from error
    try:
        for left in temporary.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield temporary
        lock.close()  # Windows renames no folder with an open file
        (temporary / LOCK).unlink()
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written: {error.strerror or error}.", "Make room on the disk."
        ) from error
    finally:
        lock.close()
        shutil.rmtree(temporary, ignore_errors=True)
