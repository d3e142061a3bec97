"""A folder that belongs to one run: it records what its results depend on, and is locked during the run."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..renamed_settings import with_current_names
from .atomic import check_place, is_temporary, sweep
from .json_text import read_json, write_json

LOCK = ".lock"
BUSY = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
"""Errors of a lock that another process has; EDEADLK is Windows' after waiting."""
SHOWN = 4
"""Maximum number of differing settings in a message."""


def claim(folder: Path, stamp: str, request: Mapping[str, Any]) -> TextIOWrapper:
    """Lock a new or empty folder for a run, or that of the same request, without its unfinished files.

    Args:
        folder: made when absent.
        stamp: name of the file in it that holds the request.
        request: what the results depend on, as JSON values under names for people.

    Returns:
        The open lock file, to be closed at the end; the system unlocks it when the process ends. The file stays,
        since removing it could let two runs in.

    Raises:
        OutputError: another run has the folder at this moment, it holds something else or results of another request,
            or it cannot be written.
    """
    check_place(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign(folder, stamp)
        lock = lock_folder(folder)
    except OSError as error:
        raise OutputError(f"'{folder}' cannot be written: {error.strerror}.", "Choose another folder.") from error
    try:
        _stamp(folder, stamp, json.loads(json.dumps(request)))
        sweep(folder)
    except BaseException:
        lock.close()
        raise
    return lock


def _stamp(folder: Path, stamp: str, request: dict[str, Any]) -> None:
    path = folder / stamp
    request = with_current_names(request)
    if path.is_file():
        try:
            before = with_current_names(read_json(path))
        except (OSError, ValueError):
            before = None
        if before == request:
            return
        before = before if isinstance(before, dict) else {}
        maker = before.get("made by", request.get("made by"))
        if maker != request.get("made by"):
            raise OutputError(f"'{folder}' holds results of '{maker}'.", "Choose another folder.")
        other = [name for name in {**before, **request} if before.get(name) != request.get(name)]
        kinds = [name for name in other if not isinstance(before.get(name, request.get(name)), bool)]
        within = lambda name: "" if isinstance(before.get(name), dict) and isinstance(request.get(name), dict) else name
        differing = [line for name in other for line in _differences(before.get(name), request.get(name), within(name))]
        more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise OutputError(
            f"'{folder}' holds results of other {', '.join(kinds) or 'settings'}"
            + (f": {', '.join(differing[:SHOWN])}{more}." if differing else "."),
            "Choose another folder, or give the same command as before to go on.",
        )
    refuse_foreign(folder, stamp)
    write_json(path, request)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    """List which values within two JSON objects differ, and how; nothing for what is no object."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        shown, wanted = map(_shown, (before, now))
        return [f"{path} was {shown}, is {wanted}"] if path else []
    if all(values and all(isinstance(text, str) for text in values.values()) for values in (before, now)):
        return [f"made with {_named(before)}, now {_named(now)}"]
    missing = object()
    names = [name for name in {**before, **now} if before.get(name, missing) != now.get(name, missing)]
    return [
        line
        for name in names
        for line in _differences(before.get(name), now.get(name), f"{path}.{name}" if path else str(name))
    ]


def _named(texts: Mapping[str, str]) -> str:
    """Write texts by name as a user gives them, such as prompts by label."""
    return ", ".join(f"'{text}'" if name == text else f"'{name}: {text}'" for name, text in texts.items())


def _shown(value: Any) -> str:
    return "not given" if value is None else repr(value) if len(repr(value)) <= 40 else "another"


def refuse_foreign(folder: Path, stamp: str) -> None:
    """Refuse a folder of something else, before even a lock is written to it.

    Raises:
        OutputError: naming it.
    """
    if (
        folder.is_dir()
        and not (folder / stamp).is_file()
        and any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir())
    ):
        raise OutputError(
            f"'{folder}' is not empty and holds no {stamp} of an earlier run.",
            "Choose a new folder: nothing is overwritten.",
        )


def lock_folder(folder: Path) -> TextIOWrapper:
    """Open and lock the lock file of an existing folder; see `claim`, also for errors."""
    try:
        return lock_file(folder / LOCK)
    except BlockingIOError as error:
        raise OutputError(f"Another run is writing to '{folder}'.", "Wait for it, or choose another folder.") from error


@contextmanager
def hold_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a file while the block runs, and remove the file at its end; see `lock_file`."""
    lock = lock_file(path, wait)
    try:
        yield
    finally:
        remove_lock(lock, path)


def remove_lock(lock: TextIOWrapper, path: Path) -> None:
    """Unlock a file and remove it: while it is held, so that it is not that of another run."""
    with suppress(OSError):
        try:
            path.unlink()
        except PermissionError:  # Windows removes no file that is open, so nor one that another run has opened since
            lock.close()
            path.unlink()
    lock.close()


def lock_file(path: Path, wait: bool = False) -> TextIOWrapper:
    """Open a file and lock it; closing it, or the end of the process, unlocks it.

    Args:
        wait: until another process has released it; on Windows for ten seconds at most.

    Raises:
        BlockingIOError: another process has it. OutputError: its file system has no locks. OSError: it cannot be
            opened.
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
    file.close()  # who had the lock has removed the file
    return lock_file(path, wait)


def _lock(file: TextIOWrapper, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
