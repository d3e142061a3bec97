"""Missing parts of a series, as DICOMDIR lists files, concatenations number parts, and PET states a slice count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset

from MedCLIPSAMLib.counted import counted, list_names
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.dicom_header import DAMAGED, STORAGE, Frame, is_directory, object_class, read_header, text
from MedCLIPSAMLib.volumes.dicom_values import numbers

DEPTH = 8
"""Maximum number of components of a path in a DICOMDIR, including the file name (PS3.10 8.2)."""
NAME = "DICOMDIR"
PET = STORAGE + "128"

Listing = Mapping[str, Sequence[tuple[str, Path]]]
"""The UID and the path of each object, by the UID of its series."""


def directories_of(folder: Path, files: Collection[Path]) -> list[Path]:
    """Find the DICOMDIRs among the files of a folder, and those of the disc that contains the folder."""
    above = [parent / NAME for parent in list(folder.resolve().parents)[:DEPTH]]
    inside = [path for path in files if path.name.upper() == NAME]
    return [path for path in (*inside, *above) if path.is_file() and is_directory(path)]


def missing_files(directory: Path, uid: str, there: Collection[str], folder: Path) -> tuple[list[str], list[str]]:
    """Find the files of a series that a DICOMDIR lists: those that do not exist, and those outside of the folder.

    Args:
        directory: the DICOMDIR; names in it match files in lower case too.
        uid: UID of the series.
        there: UIDs of the objects that were read from the folder.
        folder: the folder that was read.
    """
    try:
        listed = _read_listing(directory, directory.stat().st_mtime_ns).get(uid, ())
    except (InputError, *DAMAGED):
        return [], []
    lost, outside = [], []
    for path in (path for own, path in listed if own not in there):
        places = [directory.parent / name for name in (path, path.as_posix().lower())]
        found = next((place.resolve() for place in places if place.exists()), None)
        if found is None:
            lost.append(path.as_posix())
        elif not found.is_relative_to(folder.resolve()):
            outside.append(path.as_posix())
    return lost, outside


def directory_notes(missing: Sequence[str], outside: Sequence[str]) -> list[str]:
    """Make notes on files of a DICOMDIR that do not exist, and on those outside of the folder; one sentence each."""
    return [
        f"{NAME} lists {counted(len(files), 'file')} of the series {where}, so slices are missing: "
        f"{list_names(files)}.{remedy}"
        for files, where, remedy in (
            (missing, "that do not exist", ""),
            (outside, "in other folders", " Give the folder above them."),
        )
        if files
    ]


def concatenation_notes(frames: Sequence[Frame]) -> list[str]:
    """Make notes on missing parts of images that are split into several files (PS3.3 C.7.6.16.2.2.4)."""
    parts: dict[str, set[int]] = defaultdict(set)
    totals: dict[str, int] = defaultdict(int)
    for header in {frame.path: frame.header for frame in frames}.values():
        uid, part = text(header, "ConcatenationUID"), numbers(header.get("InConcatenationNumber"))
        if uid and part:
            total = numbers(header.get("InConcatenationTotalNumber")) or part
            parts[uid].add(int(part[0]))
            totals[uid] = max(totals[uid], int(total[0]), int(part[0]))
    notes = []
    for uid, there in parts.items():
        if len(there) < totals[uid]:
            lost = [str(number) for number in range(1, totals[uid] + 1) if number not in there]
            notes.append(
                f"Only {len(there)} of {totals[uid]} files of a concatenation were found, so the slices of part "
                f"{', '.join(lost)} are missing. Give the folder with all of them."
            )
    return notes


def slice_notes(frames: Sequence[Frame]) -> list[str]:
    """Make a note if a stack of PET has fewer slices than its Number of Slices (PS3.3 C.8.9.1), otherwise none.

    A single slice is assumed to be intended.
    """
    declared = max((int(value) for frame in frames for value in frame.numbers("NumberOfSlices")[:1]), default=0)
    if object_class(frames[0].header) != PET or not 1 < len(frames) < declared:
        return []
    return [f"Only {len(frames)} of the {declared} slices that NumberOfSlices states were found; others are missing."]


@lru_cache(maxsize=4)
def _read_listing(directory: Path, changed: int) -> Listing:
    """Read the records of a DICOMDIR, which refer to one another by their offsets in the file (PS3.3 F.3.2.2).

    Args:
        changed: modification time of the file, as part of the cache key.
    """
    header = read_header(directory)
    records = {item.seq_item_tell: item for item in header.get("DirectoryRecordSequence") or []}
    found: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for series in records.values():
        if text(series, "DirectoryRecordType") != "SERIES":
            continue
        seen: set[int] = set()
        place = _place(series, "OffsetOfReferencedLowerLevelDirectoryEntity")
        while place in records and place not in seen:
            seen.add(place)
            item = records[place]
            if parts := _parts(item):
                file = text(item, "ReferencedSOPInstanceUIDInFile"), Path(*parts)
                found[text(series, "SeriesInstanceUID")].append(file)
            place = _place(item, "OffsetOfTheNextDirectoryRecord")
    return found


def _place(record: Dataset, keyword: str) -> int:
    return int((numbers(record.get(keyword)) or [0])[0])


def _parts(item: Dataset) -> list[str]:
    """Return the folders and the file name of a record; empty if they could lead out of the folder."""
    value = item.get("ReferencedFileID") or []
    parts = [value] if isinstance(value, str) else [str(part) for part in value]
    return [] if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts) else parts
