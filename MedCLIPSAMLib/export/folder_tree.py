"""The files and folders below a folder, except those written by this program."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from ..files.lock import LOCK
from ..files.outputs import MARKER
from ..files.unfinished import DESCRIPTION, ENDING

REQUEST = "export.json"
"""File in a dataset that holds the request of its export."""


def walk(folder: Path) -> list[Path]:
    """List a folder and everything below it except hidden folders and results, sorted, with links last.

    Links to folders are followed unless they lead up the tree, and each folder is visited once.
    """
    paths, tops, seen = [folder], deque([folder]), set[Path]()
    while tops:
        top = tops.popleft()
        for place, folders, files in os.walk(top) if top.resolve() not in seen else ():
            seen.add(Path(place).resolve())
            folders[:] = [name for name in folders if not name.startswith(".") and not is_own(Path(place, name))]
            folders[:] = [name for name in folders if Path(place, name).resolve() not in seen]
            paths += [Path(place, name) for name in (*folders, *files)]
            links = [Path(place, name) for name in folders if Path(place, name).is_symlink()]
            tops += [link for link in links if not folder.resolve().is_relative_to(link.resolve())]
    return sorted(paths, key=lambda path: (path.is_symlink(), path))


def is_own(folder: Path) -> bool:
    """Tell whether this program wrote a folder: a dataset, predictions, other results, or the steps of a run."""
    locked = (folder / LOCK).is_file()
    return (locked and any((folder / name).is_file() for name in (REQUEST, MARKER))) or (
        folder.name.endswith(ENDING) and (folder / DESCRIPTION).is_file()
    )
