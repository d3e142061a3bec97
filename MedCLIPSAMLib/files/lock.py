"""File locks, which the system releases when a process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from ..errors import OutputError

LOCK = ".lock"
BUSY = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
"""Error codes when another process holds the lock; EDEADLK is that of Windows after waiting."""


@contextmanager
def hold_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file while the block runs, and remove the file at the end; see `lock_file`."""
    lock = lock_file(path, wait)
    try:
        yield
    finally:
        remove_lock(lock, path)


def remove_lock(lock: TextIOWrapper, path: Path) -> None:
    """Unlock and remove a lock file; it is removed while the lock is held, so that it cannot belong to another run."""
    with suppress(OSError):
        try:
            path.unlink()
        except PermissionError:  # Windows removes no open file, not even one that only another run has open
            lock.close()
            path.unlink()
    lock.close()


def lock_file(path: Path, wait: bool = False) -> TextIOWrapper:
    """Open a file and lock it; closing the file, or the end of the process, unlocks it.

    Args:
        wait: wait until another process releases the lock; on Windows for ten seconds at most.

    Raises:
        BlockingIOError: another process holds the lock.
        OutputError: the file system has no locks.
        OSError: the file cannot be opened.
    """
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    try:
        _lock(file, wait)
        if os.fstat(file.fileno()).st_nlink:
            return file
    except OSError as error:
        file.close()
        if error.errno in BUSY:
            raise BlockingIOError(error.errno, "It is locked", str(path)) from error
        raise OutputError(
            f"'{path}' cannot be locked against other runs: {error.strerror or error}.",
            "Choose a folder on a file system with locks, such as a local disk or a cluster's mounted with 'flock'.",
        ) from error
    except BaseException:
        file.close()
        raise
    file.close()  # the previous holder of the lock removed the file
    return lock_file(path, wait)


def _lock(file: TextIOWrapper, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
