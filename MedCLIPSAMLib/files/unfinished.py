"""The locked folder beside an output in which a long run stores its finished steps; never one of the user's folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .atomic import is_temporary, sweep
from .claim import lock_folder
from .lock import LOCK, remove_lock

DESCRIPTION = "run.json"
"""File in such a folder with what the steps depend on; it also shows that this program made the folder."""

STEPS = "*.npz"

ENDING = ".unfinished"
"""Suffix of such a folder, after the name of the output."""


@contextmanager
def hold_unfinished(folder: Path) -> Iterator[None]:
    """Lock out other runs for the same output while the block runs; at the end, remove the folder if it is empty.

    Raises:
        OutputError: another run is using the folder, it holds other files, or it cannot be created.
    """
    check_unfinished(folder)
    try:
        folder.mkdir(exist_ok=True)
        lock = lock_folder(folder)
    except OSError as error:
        output = str(folder).removesuffix(ENDING)
        raise OutputError(
            f"'{output}' cannot be written: nothing can be created beside it ({error.strerror}).",
            "Choose another output.",
        ) from error
    try:
        sweep(folder)
        yield
    finally:
        with lock, suppress(OSError):  # the folder may be gone
            if [path.name for path in folder.iterdir()] == [LOCK]:
                remove_lock(lock, folder / LOCK)
                folder.rmdir()


def check_unfinished(folder: Path) -> None:
    """Refuse a folder that does not belong to a run, or a file in its place.

    Raises:
        OutputError: the folder holds something that this program did not write, or is a link.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"'{folder}' is in the way.", "Move it away, or choose another output.")
    if not folder.is_dir() or (folder / DESCRIPTION).is_file():
        return
    if any(path.name != LOCK and not is_temporary(path) for path in folder.iterdir()):
        raise OutputError(
            f"'{folder}' is needed for this run but holds something else.", "Move it away, or choose another output."
        )


def discard_unfinished(folder: Path) -> None:
    """Remove the stored steps of a run, and the folder if nothing else is in it.

    Raises:
        OutputError: see `check_unfinished`.
    """
    check_unfinished(folder)
    if not folder.is_dir():
        return
    for path in (*folder.glob(STEPS), folder / DESCRIPTION):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
