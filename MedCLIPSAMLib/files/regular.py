"""Checks for regular files; pipes, devices and sockets cannot be read twice, and reading them may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from MedCLIPSAMLib.errors import InputError

KINDS = ((stat.S_ISFIFO, "pipe"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "device"), (stat.S_ISSOCK, "socket"))

POINTERS = {b"version https://git-lfs": "git-lfs", b"/annex/objects/": "git-annex"}
"""Beginnings of placeholder files whose content is stored elsewhere, and the tool that made them."""


def pointer(head: bytes) -> str:
    """Describe a placeholder file by its first bytes; empty for any other file."""
    keeper = next((name for beginning, name in POINTERS.items() if head.startswith(beginning)), None)
    return f"a pointer of {keeper}, whose file was not fetched" if keeper else ""


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a socket; a path where nothing exists is accepted here.

    Raises:
        InputError: the path is a pipe, a device or a socket.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    kind = next((name for is_kind, name in KINDS if is_kind(mode)), None)
    if kind is not None:
        raise InputError(f"Expected a file, got the {kind} '{path}'.", "Save its output to a file, and give that file.")


def check_file(path: Path, remedy: str = "Check the path.") -> None:
    """Refuse a path that is not an existing file.

    Raises:
        InputError: nothing exists there, or it is a folder, a pipe, a device or a socket.
    """
    check_regular(path)
    if os.path.isdir(path):
        raise InputError(f"Expected a file, got the folder '{path}'.", remedy)
    if not os.path.exists(path):
        raise InputError(f"There is no file '{path}'.", remedy)
