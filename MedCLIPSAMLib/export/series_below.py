"""The DICOM series of images in the folders of a tree: of each by itself, and those cut into several folders."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..volumes.dicom_geometry import are_separate_images, is_one_stack
from ..volumes.dicom_phases import group_by
from ..volumes.dicom_series import Series, find_series, fitting, without_odd
from ..volumes.suffixes import IMAGE_SUFFIXES

MAX_FOLDERS = 500
"""Folders that one series is looked for in: one in more of them is of files with one UID for all."""


def series_below(
    paths: Sequence[Path], which: str | None, dicom: dict[Path, str], notify: Callable[[str], None]
) -> dict[Path, list[tuple[str, Path, str | None]]]:
    """Take the DICOM series of each of the folders among these paths, each by itself; see below.

    One that was cut into several folders, as on discs, is taken of the folder above them, and the user told so.
    """
    taken: dict[Path, list[tuple[str, Path, str | None]]] = {}
    folders: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    stacks: set[tuple[str, ...]] = set()
    scouts: dict[Path, list[Path]] = {}
    shared, seen = set[Path](), set[Path]()
    for path in paths:
        if not path.is_dir() or path.resolve() in seen:
            continue
        seen.add(path.resolve())
        there = _find(path)
        taken[path] = _take(path, there, which, dicom)
        shared |= set(path.parents) if there else set()
        if all(item.what or item.is_localizer for item in there):
            scouts[path] = [file for item in there if not item.what for file in item.files]
        for item in there:
            if item.uid and not item.what:
                folders[item.key].append(path)
                if len(item.files) > 1 and not are_separate_images(item.frames()):
                    stacks.add(item.key)
    if which is None and any(found for path, found in taken.items() if path not in scouts):
        taken |= {path: [] for path in scouts}
        dicom |= {file: "localizer" for files in scouts.values() for file in files}
    apart = {key: where for key, where in folders.items() if len(set(where)) > 1}
    joined = {item.key: (top, item) for top, item in _cut_into(apart)}
    cut = {folder for key in joined for folder in apart[key]}
    for folder in cut:
        taken[folder] = _take(folder, [item for item in _find(folder) if item.key not in joined], which, {})
    for top, item in joined.values():
        fits = which is None or fitting([item], which)
        taken.setdefault(top, []).extend([(_name(item), top, item.handle)] if fits else [])
    apart_still = [key for key in apart if key in stacks - joined.keys()]
    for keys, what in (list(joined), "Each series is one image."), (apart_still, "Each folder is one image."):
        if keys:
            such = " and ".join(f"'{folder.name}'" for folder in apart[keys[0]][:2])
            notify(f"The files of {len(keys)} DICOM series lie in several folders each, such as {such}. {what}")
    for path, found in taken.items():
        names = Counter(name for name, _, _ in found)
        alone = which is None and path not in shared | cut
        taken[path] = [
            (f"{name}_{uid}" if uid and names[name] > 1 else name, image, uid if name or not alone else None)
            for name, image, uid in found
        ]
    return taken


def _cut_into(apart: Mapping[tuple[str, ...], Sequence[Path]]) -> list[tuple[Path, Series]]:
    """Find the series, of those in several folders, that are one image, and the folder above each.

    They make one stack together, or none in one of the folders, as phases that were cut amid one.
    """
    found = []
    for top in sorted({Path(os.path.commonpath(where)) for where in apart.values() if len(where) <= MAX_FOLDERS}):
        for item in find_series(top)[0]:
            frames = item.frames() if item.key in apart and not item.is_localizer else []
            parts = group_by(frames, lambda frame: frame.path.parent)
            if not frames or parts.keys() != set(apart[item.key]) or are_separate_images(frames):
                continue
            if is_one_stack(frames) or not all(map(is_one_stack, parts.values())):
                found.append((top, item))
    return found


def _name(item: Series) -> str:
    return "_".join(filter(None, (item.number, item.description or item.handle)))


def _find(folder: Path) -> list[Series]:
    """Find the DICOM series in a folder, not below it."""
    try:
        return find_series(folder, deep=False)[0]
    except InputError:  # none
        return []


def _take(
    folder: Path, there: Sequence[Series], which: str | None, dicom: dict[Path, str]
) -> list[tuple[str, Path, str | None]]:
    """Take the DICOM series of images in a folder: a name, the folder or file, and the UID.

    Args:
        there: the series in it.
        dicom: filled with the DICOM files, and why they are left out; "" where they are not.
    """
    images = [item for item in there if not item.what]
    every = [item for item in images if not item.is_localizer] or images
    taken = set(every)
    for item in there:
        dicom |= dict.fromkeys(item.files, "" if item in taken else item.what or "localizer")
    every = without_odd(every, [])
    for item in taken.difference(every):
        dicom |= dict.fromkeys(item.files, "of another modality than its series")
    found: list[tuple[str, Path, str | None]] = []
    for item in every if which is None else fitting(every, which):
        mixed = len(every) > 1 or any(path.name.lower().endswith(IMAGE_SUFFIXES) for path in folder.iterdir())
        if are_separate_images(item.frames()) or (mixed and len(item.files) == 1):
            found += [(path.name, path, None) for path in item.files]
        else:
            found.append((_name(item) if len(every) > 1 else "", folder, item.handle))
    return found
