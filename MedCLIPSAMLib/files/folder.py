"""Write and remove folders by renaming them, so that a killed run leaves no half-written folder."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .atomic import check_place, move
from .lock import hold_lock


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which replaces `path` if the block succeeds and is removed otherwise.

    The temporary folder is beside `path`, as is the lock that keeps other runs for the same path out until the end.
    After a killed run, the next one removes its leftovers, and puts back what it had moved aside.

    Raises:
        OutputError: another run is writing the folder, or it cannot be written; what was at `path` is unchanged.
    """
    token = secrets.token_hex(4)
    temporary, old = (path.with_name(f".{path.name}.{token}{ending}") for ending in (".partial", ".old.partial"))
    with _hold(path):
        try:
            temporary.mkdir()
            yield temporary
            if path.exists():
                move(path, old)
            move(temporary, path)
        finally:
            _clean_up(path)


def check_folder(path: Path) -> None:
    """Refuse a path at which `atomic_folder` would fail, before any long work; raises OutputError as it does."""
    with _hold(path):
        pass


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Lock out other runs for the folder `path`, and clean up after killed ones; errors as in `atomic_folder`."""
    check_place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(path.with_name(f".{path.name}.lock")):
            _clean_up(path)
            yield
    except BlockingIOError as error:
        raise OutputError(f"Another run is writing '{path}'.", "Wait for it, or choose another name.") from error
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written: {error.strerror or error}.", "Make room on the disk, or choose another place."
        ) from error


def remove_folder(path: Path) -> None:
    """Remove a folder, or a link to one, completely or not at all.

    It is renamed first; if the run is killed during the removal, the next run for the same path removes the rest.

    Raises:
        OutputError: a run is writing the folder, or it cannot be removed.
    """
    try:
        with hold_lock(path.with_name(f".{path.name}.lock")):
            move(path, path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial"))
            _clean_up(path)
    except BlockingIOError as error:
        raise OutputError(f"A run is writing '{path}'.", "Wait for it.") from error
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be removed: {error.strerror or error}.", "Check its permissions."
        ) from error


def _clean_up(path: Path) -> None:
    """Put back what was moved aside and not replaced, and remove all else that runs for `path` left beside it."""
    name = re.compile(rf"\.{re.escape(path.name)}(?:\.[0-9a-f]{{8}})?(\.old)?\.partial")
    with suppress(OSError):
        for left in sorted(path.parent.iterdir()):
            found = name.fullmatch(left.name)
            if not found:
                continue
            if left.is_symlink() or not left.is_dir():
                left.unlink()
            elif found[1] and not path.exists():
                move(left, path)
            else:
                shutil.rmtree(left, ignore_errors=True)
