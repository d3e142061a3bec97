"""The files and folders below a folder, without those that this program wrote."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from ..files.lock import LOCK
from ..files.outputs import MARKER
from ..files.unfinished import DESCRIPTION, ENDING

REQUEST = "export.json"
"""File in the dataset of an export with its request."""


def walk(folder: Path) -> list[Path]:
    """List a folder and what is below it but hidden folders, sorted, files and folders before links to them.

    Links to folders are followed, but for those that lead up, and each folder is looked into once.
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
    """Tell whether this program wrote a folder: a dataset, predictions, results, the steps of a run."""
    locked = (folder / LOCK).is_file()
    return (locked and any((folder / name).is_file() for name in (REQUEST, MARKER))) or (
        folder.name.endswith(ENDING) and (folder / DESCRIPTION).is_file()
    )
