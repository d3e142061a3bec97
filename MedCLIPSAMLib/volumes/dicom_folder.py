"""The files of a folder: which are DICOM, and which seem to be meant as images of it but are none that can be read."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from MedCLIPSAMLib.volumes.dicom_header import is_dicom

ENDINGS = {".dcm", ".dicom", ".dic", ".ima"}
"""How the names of DICOM files end, where they say so at all."""
POINTERS = {b"version https://git-lfs": "git-lfs", b"/annex/objects/": "git-annex"}
"""How files begin that name a file that is kept elsewhere, and what for."""
SHOWN = 3


@dataclass
class FolderFiles:
    """The files of a folder and its sub-folders.

    Attributes:
        dicom: what begins as DICOM does, sorted by folder and name.
        lost: what seems to be meant as DICOM, or a folder, and cannot be read -> why.
        others: how many other files there are, without hidden ones.
        folders: how many sub-folders.
    """

    dicom: list[Path] = field(default_factory=list)
    lost: dict[Path, str] = field(default_factory=dict)
    others: int = 0
    folders: int = 0


def list_files(folder: Path, deep: bool = True) -> FolderFiles:
    """List the files of a folder; links to folders are followed, but to one that was there before, or holds this one.

    Args:
        deep: look into its sub-folders too.
    """
    found = FolderFiles()
    rest: list[Path] = []
    seen = {parent.resolve() for parent in (folder.resolve(), *folder.resolve().parents)}
    refused = lambda error: found.lost.setdefault(Path(error.filename), "not readable")
    for parent, names, files in os.walk(folder, onerror=refused, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith((".", "__MACOSX")))
        found.folders += len(names)
        names[:] = [name for name in names if deep and _is_new(Path(parent, name), seen)]
        for name in sorted(files):
            path = Path(parent, name)
            if os.path.isfile(path) and is_dicom(path):
                if name.startswith("."):
                    found.lost[path] = "hidden"
                else:
                    found.dicom.append(path)
            elif not name.startswith("."):
                rest.append(path)
    kinds = {_kind(path) for path in found.dicom} | ENDINGS
    found.lost |= {path: _why_lost(path) for path in rest if _kind(path) in kinds}
    found.others = len(rest)
    return found


def lost_notes(lost: Mapping[Path, str]) -> list[str]:
    """Say which files are lost, and why, as a list of one sentence or none."""
    if not lost:
        return []
    by_reason: dict[str, list[str]] = defaultdict(list)
    for path, why in lost.items():
        by_reason[why].append(path.name)
    told = "; ".join(f"{list_names(names)} ({why})" for why, names in by_reason.items())
    files = "1 file was" if len(lost) == 1 else f"{len(lost)} files were"
    return [f"{files} not read, so that slices may be missing: {told}."]


def list_names(names: Collection[str]) -> str:
    """Join names to a list of a few, in quotes, by which reports without names find them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in list(names)[:SHOWN]) + more


def _is_new(folder: Path, seen: set[Path]) -> bool:
    """Tell whether a folder was not there before, under another name either."""
    place = folder.resolve()
    if place in seen:
        return False
    seen.add(place)
    return True


def _kind(path: Path) -> str:
    """Return the ending of a name that is one, with letters; else what tells "IM0001" and "1.2.840" from "README"."""
    ending = path.suffix.lower()
    if any(letter.isalpha() for letter in ending):
        return ending
    return "numbered" if any(letter.isdigit() for letter in path.name) else path.name


def _why_lost(path: Path) -> str:
    if not os.path.exists(path):
        return "a link to a file that is not there"
    if not os.path.isfile(path):
        return "no file"
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return "not readable"
    keeper = next((name for beginning, name in POINTERS.items() if head.startswith(beginning)), None)
    if keeper:
        return f"a pointer of {keeper}, whose file was not fetched"
    if not head:
        return "0 bytes"
    return "zeros only" if not any(head) else "no DICOM, or cut short"
