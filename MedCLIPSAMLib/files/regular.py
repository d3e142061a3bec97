"""Files that can be read more than once, unlike pipes, devices and sockets, on which reading may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from MedCLIPSAMLib.errors import InputError

KINDS = ((stat.S_ISFIFO, "pipe"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISSOCK, "socket"))

POINTERS = {b"version https://git-lfs": "git-lfs", b"/annex/objects/": "git-annex"}
"""How files begin that name a file that is kept elsewhere, and what for."""


def pointer(head: bytes) -> str:
    """Name what a file is by its beginning, where it stands for one that is kept elsewhere; else nothing."""
    keeper = next((name for beginning, name in POINTERS.items() if head.startswith(beginning)), None)
    return f"a pointer of {keeper}, whose file was not fetched" if keeper else ""


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder; a path where there is nothing is no matter of this check.

    Raises:
        InputError: a pipe, a device or a socket.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    kind = next((name for is_kind, name in KINDS if is_kind(mode)), None)
    if kind is not None:
        raise InputError(
            f"Expected a file, got the {kind} '{path}'.", "Save what it gives as a file, and give that one."
        )


def check_file(path: Path, remedy: str = "Check the path.") -> None:
    """Refuse what is no file.

    Raises:
        InputError: there is nothing, a folder, a pipe, a device or a socket.
    """
    check_regular(path)
    if os.path.isdir(path):
        raise InputError(f"Expected a file, got the folder '{path}'.", remedy)
    if not os.path.exists(path):
        raise InputError(f"There is no file '{path}'.", remedy)
