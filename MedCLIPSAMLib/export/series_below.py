"""The DICOM image series in a folder tree: those in single folders, and those split over several folders."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..volumes.dicom_geometry import are_separate_images, is_cut
from ..volumes.dicom_phases import group_by
from ..volumes.dicom_series import Series, find_series, fitting, without_odd
from ..volumes.suffixes import IMAGE_SUFFIXES

MAX_FOLDERS = 500
"""Maximum number of folders that a split series may have; with more, the UID is not unique to one series."""
Key = tuple[str, ...]
"""Identifies a series: `Series.key`."""


@dataclass(frozen=True)
class _Image:
    """An image of a series: a file, or a folder and the UID; the name is "" if the folder holds no other image."""

    key: Key
    name: str
    path: Path
    uid: str | None


@dataclass(frozen=True)
class _Folder:
    """The DICOM content of a folder, without its subfolders.

    Attributes:
        images: the images that are taken.
        sizes: the number of files of each image series that has a UID.
        stacks: the series that are stacks of slices, not separate images.
        holds_dicom: whether the folder holds DICOM of any kind.
        aside: file -> `Series.aside`, if the folder holds nothing else except objects that are not images.
    """

    path: Path
    images: list[_Image]
    sizes: dict[Key, int]
    stacks: set[Key]
    holds_dicom: bool
    aside: dict[Path, str]


def series_below(
    paths: Iterable[Path], which: str | None, dicom: dict[Path, str], notify: Callable[[str], None]
) -> dict[Path, list[tuple[str, Path, str | None]]]:
    """Find the DICOM image series in each folder among these paths.

    A series that was split over several folders, as on discs, is assigned to the folder above them.

    Args:
        which: chooses series; None takes all except those that `_leave_out_scouts` leaves out.
        dicom: filled with the DICOM files found and why each is left out, "" if it is not.
        notify: told which series lie in several folders.

    Returns:
        By folder, a name, the path and the UID of each image. The UID is None if there is no other DICOM in the folder
        or below it.
    """
    unique: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            unique.setdefault(path.resolve(), path)
    folders = [_look(path, which, dicom) for path in unique.values()]
    if which is None:
        _leave_out_scouts(folders, dicom)
    parts: dict[Key, dict[Path, int]] = defaultdict(dict)
    for folder in folders:
        for key, size in folder.sizes.items():
            parts[key][folder.path] = size
    apart = {key: sizes for key, sizes in parts.items() if len(sizes) > 1}
    joined = _join(apart, which)
    _tell(apart, joined, set[Key]().union(*(folder.stacks for folder in folders)), notify)
    taken = {folder.path: [image for image in folder.images if image.key not in joined] for folder in folders}
    for image in filter(None, joined.values()):
        taken.setdefault(image.path, []).append(image)
    shared = {path for key in joined for path in apart[key]}
    shared.update(above for folder in folders if folder.holds_dicom for above in folder.path.parents)
    return {path: _named(images, which is None and path not in shared) for path, images in taken.items()}


def _look(path: Path, which: str | None, dicom: dict[Path, str]) -> _Folder:
    """Find the series in one folder; see `series_below`. Headers are not kept in memory."""
    try:
        there = find_series(path, deep=False)[0]
    except InputError:  # none
        there = []
    aside = {item: item.aside for item in there}
    known = [item for item in there if item.uid and not item.what]
    stands_aside = all(item.what or aside[item] for item in there)
    return _Folder(
        path,
        images=_take(path, aside, which, dicom),
        sizes={item.key: len(item.files) for item in known},
        stacks={item.key for item in known if len(item.files) > 1 and not are_separate_images(item.frames())},
        holds_dicom=bool(there),
        aside={file: kind for item, kind in aside.items() if kind and stands_aside for file in item.files},
    )


def _take(path: Path, there: Mapping[Series, str], which: str | None, dicom: dict[Path, str]) -> list[_Image]:
    """Take the images among the series in a folder.

    Series such as localizers (`Series.aside`) are taken only if there are no others.

    Args:
        there: series -> its `Series.aside`.
    """
    images = [item for item in there if not item.what]
    every = [item for item in images if not there[item]] or images
    taken = set(every)
    for item, aside in there.items():
        dicom |= dict.fromkeys(item.files, "" if item in taken else item.what or aside)
    every = without_odd(every, [])
    for item in taken.difference(every):
        dicom |= dict.fromkeys(item.files, "of another modality than its series")
    found: list[_Image] = []
    for item in every if which is None else fitting(every, which) or fitting(images, which):
        mixed = len(every) > 1 or any(file.name.lower().endswith(IMAGE_SUFFIXES) for file in path.iterdir())
        if are_separate_images(item.frames()) or (mixed and len(item.files) == 1):
            found += [_Image(item.key, file.name, file, None) for file in item.files]
        else:
            found.append(_Image(item.key, _name(item) if len(every) > 1 else "", path, item.handle))
    return found


def _name(item: Series) -> str:
    return "_".join(filter(None, (item.number, item.description or item.handle)))


def _leave_out_scouts(folders: Sequence[_Folder], dicom: dict[Path, str]) -> None:
    """Leave out localizers in folders of their own if there are other images, and screen captures of their studies.

    Screen captures of other studies may be images that were converted to DICOM.
    """
    others = {_study(image) for folder in folders if not folder.aside for image in folder.images}
    for folder in folders:
        is_scout = "localizer" in folder.aside.values()
        if folder.aside and others and (is_scout or not others.isdisjoint(map(_study, folder.images))):
            folder.images.clear()
            dicom |= folder.aside


def _study(image: _Image) -> Key:
    """Return the patient and the study of an image."""
    return image.key[2:4]


def _join(apart: Mapping[Key, Mapping[Path, int]], which: str | None) -> dict[Key, _Image | None]:
    """Find the series that are one image split over several folders; the image is None if `which` excludes it.

    Args:
        apart: series -> folder -> number of files.
    """
    tops: dict[Path, set[Key]] = defaultdict(set)
    for key, sizes in apart.items():
        if len(sizes) <= MAX_FOLDERS:
            tops[Path(os.path.commonpath(sizes))].add(key)
    joined: dict[Key, _Image | None] = {}
    for top, keys in tops.items():
        for item in find_series(top)[0]:
            if item.key in keys and _is_one_image(item, apart[item.key]):
                fits = which is None or fitting([item], which)
                joined[item.key] = _Image(item.key, _name(item), top, item.handle) if fits else None
    return joined


def _is_one_image(item: Series, sizes: Mapping[Path, int]) -> bool:
    """Tell whether a series was split over these folders, rather than copied: each holds some files, and none all."""
    if item.aside:
        return False
    parts = group_by(item.frames(), lambda frame: frame.path.parent)
    return parts.keys() == sizes.keys() and max(sizes.values()) < len(item.files) and is_cut(list(parts.values()))


def _tell(
    apart: Mapping[Key, Mapping[Path, int]],
    joined: Mapping[Key, _Image | None],
    stacks: set[Key],
    notify: Callable[[str], None],
) -> None:
    """Notify the user of series in several folders: those that are one image, and those that are one in each folder."""
    others = [key for key in apart if key in stacks and key not in joined]
    for keys, what in (list(joined), "Each series is one image."), (others, "Each folder is one image."):
        if keys:
            such = " and ".join(f"'{folder.name}'" for folder in list(apart[keys[0]])[:2])
            notify(f"The files of {len(keys)} DICOM series lie in several folders each, such as {such}. {what}")


def _named(images: Sequence[_Image], is_alone: bool) -> list[tuple[str, Path, str | None]]:
    """Add the UID to names that occur twice; the only image of a folder, if it stands alone, gets None as its UID."""
    names = Counter(image.name for image in images)
    return [
        (
            f"{image.name}_{image.uid}" if image.uid and names[image.name] > 1 else image.name,
            image.path,
            image.uid if image.name or not is_alone else None,
        )
        for image in images
    ]
