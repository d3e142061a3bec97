"""The files of a folder: DICOM files, and files that seem to be meant as DICOM images but cannot be read."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from MedCLIPSAMLib.counted import counted, list_names
from MedCLIPSAMLib.files.regular import pointer
from MedCLIPSAMLib.volumes.archive import is_zip
from MedCLIPSAMLib.volumes.dicom_header import is_dicom
from MedCLIPSAMLib.volumes.nifti_file import is_packed
from MedCLIPSAMLib.volumes.suffixes import PAIR_SUFFIXES, VOXEL_SUFFIXES

ENDINGS = {".dcm", ".dicom", ".dic", ".ima"}
"""Usual suffixes of DICOM files, which often have none."""
NIFTI_SUFFIXES = (".nii.gz", ".nii.bz2", *PAIR_SUFFIXES, *VOXEL_SUFFIXES)


@dataclass
class FolderFiles:
    """The files of a folder and its subfolders.

    Attributes:
        dicom: files that begin as DICOM does, sorted by folder and name.
        damaged: those of them that cannot be read.
        lost: files that seem to be meant as DICOM, and folders, that cannot be read, with the reason.
        others: number of other files, without hidden ones.
        packed: other files that are zip files, or gzip or bzip2 files other than NIfTI; only filled without DICOM.
        folders: number of subfolders.
        elsewhere: folders outside of this one to which it has links.
    """

    dicom: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    lost: dict[Path, str] = field(default_factory=dict)
    others: int = 0
    packed: list[Path] = field(default_factory=list)
    folders: int = 0
    elsewhere: list[Path] = field(default_factory=list)

    def notes(self, within: Collection[Path] | None = None) -> list[str]:
        """Describe the files that are lost or damaged, with the reasons; only in the folders `within` if given."""
        notes = []
        by_reason: dict[str, list[str]] = defaultdict(list)
        for path, why in self.lost.items():
            if within is None or path.parent in within:
                by_reason[why].append(path.name)
        if by_reason:
            told = "; ".join(f"{list_names(names)} ({why})" for why, names in by_reason.items())
            files = counted(sum(map(len, by_reason.values())), "file was", "files were")
            notes.append(f"{files} not read, so slices may be missing: {told}.")
        damaged = [path.name for path in self.damaged if within is None or path.parent in within]
        if damaged:
            files = counted(len(damaged), "file")
            notes.append(f"{files} of DICOM could not be read and were left out: {list_names(damaged)}.")
        return notes


def list_files(folder: Path, deep: bool = True) -> FolderFiles:
    """List the files of a folder; links to folders within it are followed, each folder once.

    Args:
        deep: search its subfolders too.
    """
    found = FolderFiles()
    rest: list[Path] = []
    root = folder.resolve()
    seen = {root}
    refused = lambda error: found.lost.setdefault(Path(error.filename), "not readable")
    for parent, names, files in os.walk(folder, onerror=refused, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith((".", "__MACOSX")))
        found.folders += len(names)
        places = {Path(parent, name).resolve(): name for name in reversed(names)}
        within = {place for place in places if place.is_relative_to(root)}
        found.elsewhere += sorted(places.keys() - within)
        names[:] = sorted(places[place] for place in within - seen) if deep else []
        seen |= within
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
    found.packed = [] if found.dicom else [path for path in rest if path.is_file() and _is_packed(path)]
    return found


def _is_packed(path: Path) -> bool:
    try:
        return is_zip(path) or (is_packed(path) and not path.name.lower().endswith(NIFTI_SUFFIXES))
    except OSError:  # a broken link or an unreadable file
        return False


def _kind(path: Path) -> str:
    """Return the suffix of a name if it has letters, otherwise the name with # for its numbers, such as "IM#"."""
    ending = path.suffix.lower()
    return ending if any(letter.isalpha() for letter in ending) else re.sub(r"\d+", "#", path.name)


def _why_lost(path: Path) -> str:
    if not os.path.exists(path):
        return "a link to a missing file"
    if not os.path.isfile(path):
        return "not a file"
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return "not readable"
    if not head:
        return "0 bytes"
    return pointer(head) or ("zeros only" if not any(head) else "not DICOM, or cut short")
