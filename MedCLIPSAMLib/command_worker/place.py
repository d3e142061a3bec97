"""The socket of the command line's worker, in a folder that only the user can enter."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

from ..errors import MedCLIPSAMError

SOCKET, LOG, LOCK = "worker.sock", "worker.log", "worker.lock"
LONGEST = 100
"""Maximum bytes of a socket's path that all systems allow."""


class PlaceError(MedCLIPSAMError):
    """The folder or the socket cannot be trusted, or this system has no such sockets."""


def supported() -> bool:
    """Tell whether this system can pass open files through Unix-domain sockets; Windows cannot."""
    return hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")


def folder() -> Path:
    """Return the folder: in the user's runtime directory, which is deleted after the session, or else in the cache."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isabs(runtime):
        return Path(runtime) / "medclipsam"
    home = Path.home()
    cache = (
        home / "Library" / "Caches"
        if sys.platform == "darwin"
        else Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    )
    return cache / "medclipsam" / "worker"


def make_folder() -> Path:
    """Create the folder if it is missing, accessible only to the user.

    Raises:
        PlaceError: see `check`; or the folder cannot be created, or its path is too long for a socket.
    """
    place = folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PlaceError(
            f"'{place}' cannot be created: {error.strerror}.", "Set XDG_RUNTIME_DIR to a folder of your own."
        ) from error
    check(place)
    if len(os.fsencode(place / SOCKET)) > LONGEST:
        raise PlaceError(
            f"The path of the socket, '{place / SOCKET}', is longer than {LONGEST} bytes.",
            "Set XDG_RUNTIME_DIR to a folder of your own with a shorter path.",
        )
    return place


def check(place: Path) -> None:
    """Refuse a folder that belongs to another user, or that others can enter or write to.

    Raises:
        PlaceError: the folder is not safe, is not a folder, or cannot be checked.
    """
    try:
        found = place.lstat()
    except OSError as error:
        raise PlaceError(f"'{place}' cannot be checked: {error.strerror}.", "Check its permissions.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise PlaceError(f"Expected a folder at '{place}', got something else.", "Remove it; the worker creates one.")
    if found.st_uid != os.geteuid():
        raise PlaceError(
            f"'{place}' belongs to another user.", "Remove it, or set XDG_RUNTIME_DIR to a folder of your own."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise PlaceError(f"Others can enter '{place}'.", f"Run: chmod 700 '{place}'")
