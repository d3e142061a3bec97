"""The DICOM series in a folder and its subfolders, and the choice of one."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from MedCLIPSAMLib.counted import counted, list_names
from MedCLIPSAMLib.errors import InputError, without_controls
from MedCLIPSAMLib.volumes.dicom_folder import FolderFiles, list_files
from MedCLIPSAMLib.volumes.dicom_geometry import ODD_SHARE, is_one_stack
from MedCLIPSAMLib.volumes.dicom_header import (
    DAMAGED,
    DIRECTORY,
    STORAGE,
    Frame,
    frames_of,
    is_cut_short,
    no_image,
    object_class,
    read_elements,
    read_header,
    text,
)
from MedCLIPSAMLib.volumes.dicom_missing import directories_of, missing_files
from MedCLIPSAMLib.volumes.dicom_spacing import TOMOGRAPHY
from MedCLIPSAMLib.volumes.dicom_values import holds_words, numbers

KEYS = ("PatientID", "StudyInstanceUID", "Modality")
"""Tags that distinguish series with the same UID."""
NUMBER = "SeriesNumber"
"""Tag that also distinguishes series without a UID."""
DATES = ("SeriesDate", "AcquisitionDate", "StudyDate", "ContentDate")
SECONDARY_CAPTURE = STORAGE + "7"
"""Beginning of the secondary capture classes: of one frame, and of several frames by their bits."""
MAX_LISTED = 40


@dataclass(eq=False)
class Series:
    """The objects of one series of one study.

    Attributes:
        uid: SeriesInstanceUID.
        what: kind of object, such as "segmentation"; "" for images.
        files: header by path, in the order of the paths, without copies of the same object.
        copies: number of files left out as copies.
        missing, outside: files that a DICOMDIR lists and that do not exist, or are not in the folder.
        seen: what identifies the objects, to find copies.
        key: what distinguishes the series from others: patient, study and so on.
        shared: whether other series have the same UID, or also have none.
    """

    uid: str
    what: str = ""
    files: dict[Path, Dataset] = field(default_factory=dict)
    copies: int = 0
    missing: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    seen: set[tuple] = field(default_factory=set, repr=False)
    key: tuple[str, ...] = ()
    shared: bool = False

    def add(self, path: Path, header: Dataset) -> None:
        """Add a file, unless its object has been added already."""
        place = tuple(numbers(header.get("ImagePositionPatient")))
        key = (text(header, "SOPInstanceUID"), place, text(header, "InstanceNumber"))
        if key[0] and key in self.seen:
            self.copies += 1
            return
        self.seen.add(key)
        self.files[path] = header

    @property
    def header(self) -> Dataset:
        """Header of the first file."""
        return next(iter(self.files.values()))

    @property
    def marked_uid(self) -> str:
        """UID with a checksum of what distinguishes the series, which does not depend on the other series."""
        return f"{self.uid or 'none'}-{hashlib.sha256(repr(self.key).encode()).hexdigest()[:6]}"

    @property
    def handle(self) -> str:
        """Text that chooses this series: the UID, or `marked_uid` if other series have the same UID."""
        return self.marked_uid if self.shared else self.uid

    @property
    def number(self) -> str:
        """Series number."""
        return text(self.header, "SeriesNumber")

    @property
    def description(self) -> str:
        """Series description."""
        return text(self.header, "SeriesDescription")

    @property
    def modality(self) -> str:
        """DICOM modality, such as "CT"."""
        return text(self.header, "Modality")

    @property
    def date(self) -> str:
        """Date as YYYY-MM-DD; empty if unknown."""
        for keyword in DATES:
            value = text(self.header, keyword)
            if len(value) == 8 and value.isdigit():
                return f"{value[:4]}-{value[4:6]}-{value[6:]}"
        return ""

    @property
    def aside(self) -> str:
        """Kind of all images if other series take precedence: "localizer" or "screen capture"; else ""."""
        frames = [] if self.what else self.frames()
        is_capture = lambda frame: (
            object_class(frame.header).startswith(SECONDARY_CAPTURE)
            and frame.position is None
            and frame.text("Modality") in TOMOGRAPHY
        )
        kinds = {"localizer": lambda frame: frame.is_localizer, "screen capture": is_capture}
        return next((kind for kind, fits in kinds.items() if frames and all(map(fits, frames))), "")

    def frames(self) -> list[Frame]:
        """List the image planes of all files."""
        return [frame for path, header in self.files.items() for frame in frames_of(path, header)]

    def line(self) -> str:
        """Describe the series in one line, from which the user chooses."""
        count = len(self.files)
        parts = [self.modality, self.description or "no description", f"{counted(count, 'file')}"]
        if self.what:
            parts.append(f"no image: {self.what}")
        if self.date:
            parts.append(self.date)
        if self.shared:
            parts.append(f"such as '{without_controls(next(iter(self.files)).name)}'")
        number = f"number {self.number}, " if self.number else ""
        return f"{number}{', '.join(part for part in parts if part)}: {self.handle}"


def find_series(folder: Path, deep: bool = True) -> tuple[list[Series], FolderFiles]:
    """Find all series in a folder, sorted by study, number and UID; also return the list of its files.

    Images of different modalities are never one series. Nor are those with different numbers or descriptions, unless
    they form one stack, in which a few slices may be missing: anonymized files may all have the same UID, or none.

    Args:
        deep: search its subfolders too.

    Raises:
        InputError: there is no DICOM object.
    """
    found: dict[tuple[str, ...], Series] = {}
    files = list_files(folder, deep)
    for path in files.dicom:
        try:
            header = read_header(path)
            if object_class(header) == DIRECTORY:
                continue
            what, uid = no_image(header) or "", text(header, "SeriesInstanceUID")
            if is_cut_short(header):
                files.damaged.append(path)
                continue
            told = [text(header, keyword) for keyword in (*KEYS, NUMBER, "SeriesDescription", *DATES)]
            key = (uid, what, *told[: len(KEYS if uid else (*KEYS, NUMBER))])
            if not what:
                read_elements(frames_of(path, header)[0])
            found.setdefault(key, Series(uid, what, key=key)).add(path, header)
        except (InputError, *DAMAGED):
            files.damaged.append(path)
    _join_unsaid(found)
    every = [part for series in found.values() for part in _told_apart(series)]
    if not every:
        raise _no_series(folder, files)
    mark_shared(every)
    for directory in directories_of(folder, files.dicom):
        for series in every:
            lost, outside = missing_files(directory, series.uid, {key[0] for key in series.seen}, folder)
            series.missing, series.outside = series.missing + lost, series.outside + outside
    order = lambda series: (text(series.header, "StudyDate"), series.number.zfill(9), series.uid, series.key)
    return sorted(every, key=order), files


def _join_unsaid(found: dict[tuple[str, ...], Series]) -> None:
    """Join images that lack patient, study or modality to the only series of their UID that they complete.

    They could be another patient's, so this is done only if all images together form one stack.
    """
    of_one_uid: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for key in found:
        if key[0] and not key[1]:  # images
            of_one_uid[key[0]].append(key)
    for keys in of_one_uid.values():
        for key in [key for key in keys if "" in key[2:]]:
            others = [other for other in keys if other != key and all(own in ("", tag) for own, tag in zip(key, other))]
            whole = found[others[0]].files | found[key].files if len(others) == 1 else {}
            if whole and is_one_stack([frame for path, header in whole.items() for frame in frames_of(path, header)]):
                keys.remove(key)
                for path, header in found.pop(key).files.items():
                    found[others[0]].add(path, header)


def _told_apart(series: Series) -> list[Series]:
    """Split a series of images whose files state several numbers or descriptions; empty if every file is damaged.

    It stays whole if all images together form one stack, if each image has its own number or description, or if only a
    few images of the UID have another description.
    """
    parts: dict[tuple[str, str], Series] = {}
    for path, header in series.files.items():
        told = text(header, NUMBER).lstrip("0"), text(header, "SeriesDescription")
        parts.setdefault(told, Series(series.uid, key=(*series.key, *told))).add(path, header)
    largest = max((len(part.files) for part in parts.values()), default=0)
    few = len({number for number, _ in parts}) == 1 and len(series.files) - largest <= largest / ODD_SHARE
    frames = series.frames() if len(parts) > 1 and not series.what else []
    if not frames or (series.uid and (few or len(parts) == len(frames))) or is_one_stack(frames):
        return [series] if series.files else []
    return list(parts.values())


def mark_shared(series: Iterable[Series]) -> None:
    """Mark the series of images that share their UID with others."""
    images = [item for item in series if not item.what]
    count = Counter(uid for uid, _ in {(item.uid, item.key) for item in images})
    for item in images:
        item.shared = count[item.uid] > 1


def _no_series(folder: Path, files: FolderFiles) -> InputError:
    remedy = "Give a folder with a DICOM series, or an image file."
    if files.damaged:
        holds = "holds only damaged DICOM files"
    elif files.packed:
        holds = f"holds no DICOM object, but compressed files: {list_names([path.name for path in files.packed])}"
        remedy = "Give the zip file itself, or unpack other archives."
    elif files.others:
        holds = f"holds {counted(files.others, 'file')} but no DICOM object"
    elif files.elsewhere:
        one = len(files.elsewhere) == 1
        to = list_names([str(place) for place in files.elsewhere])
        holds = f"holds only {'a link' if one else 'links'} to {to}"
        remedy = "Give that folder." if one else "Give one of these folders."
    else:
        holds = "holds only folders" if files.folders else "is empty"
    return InputError(" ".join([f"The folder '{folder}' {holds}.", *files.notes()]), remedy)


def choose_series(series: Sequence[Series], which: str | None, where: Path, notes: list[str]) -> Series:
    """Choose a series by `which`, or the only one that holds images and is not a localizer or screen capture.

    Args:
        which: UID, number, or words of the description of the series.
        where: the folder or file, for messages.
        notes: receives notes on what was left out.

    Raises:
        InputError: none or several fit, listed in the message; or the series holds no image.
    """
    images = [item for item in series if not item.what]
    if which is not None:
        return _find_requested(series, which, where, notes)
    if not images:
        kinds = " and ".join(sorted({item.what for item in series}))
        modalities = ", ".join(sorted({item.modality for item in series}))
        raise InputError(
            f"'{where}' holds no image, only: {kinds} ({modalities}).", "Give the series of images that it belongs to."
        )
    for what, count in Counter(item.what for item in series if item.what).items():
        notes.append(f"Left out: {count} series that hold{'s' if count == 1 else ''} no image ({what}).")
    aside = {id(item): item.aside for item in images}
    chosen = [item for item in images if not aside[id(item)]] or images
    chosen = without_odd(chosen, notes)
    if len(chosen) > 1:
        raise InputError(
            f"'{where}' holds {len(chosen)} DICOM series:\n{_listing(chosen)}\n",
            "Choose one with --series: its UID, its number, or words of its description.",
        )
    for item in images:
        if aside[id(item)] and item is not chosen[0]:
            notes.append(f"Left out: the {aside[id(item)]} series {item.number or item.uid}; --series chooses it.")
    return chosen[0]


def without_odd(series: Sequence[Series], notes: list[str]) -> list[Series]:
    """Leave out a few images with the UID and study of others but another modality, with a note."""
    alike: dict[tuple[str, ...], list[Series]] = defaultdict(list)
    for item in series:
        alike[item.key[:4]].append(item)
    left_out: set[int] = set()
    for group in alike.values():
        largest = max(group, key=lambda item: len(item.files))
        others = [item for item in group if item.key[:5] != largest.key[:5]]
        if largest.uid and sum(len(item.files) for item in others) <= len(largest.files) / ODD_SHARE:
            left_out |= {id(item) for item in others}
            for item in others:
                of = f"of another modality ({item.modality or 'none'}) than the other {len(largest.files)}"
                notes.append(f"Left out: {counted(len(item.files), 'image')} {of}; --series {item.handle} chooses it.")
    return [item for item in series if id(item) not in left_out]


def fitting(series: Sequence[Series], which: str) -> list[Series]:
    """Find the series with this UID or handle, else number, else description, else words of the description.

    A number is not looked up among the words: it would find "T1 3D" if there is no series 3.
    """
    wanted = which.strip().casefold()
    number = wanted.lstrip("0") if wanted.isdigit() else wanted
    tests: list[Callable[[Series], bool]] = [
        lambda item: wanted in (item.uid, item.marked_uid),
        lambda item: bool(wanted) and item.number.lstrip("0" if wanted.isdigit() else "") == number,
        lambda item: item.description.casefold() == wanted,
    ]
    if wanted and not wanted.isdigit():
        tests.append(lambda item: holds_words(item.description, wanted))
    return next((found for test in tests if (found := [item for item in series if test(item)])), [])


def _find_requested(series: Sequence[Series], which: str, where: Path, notes: list[str]) -> Series:
    found = fitting(series, which)
    images = without_odd([item for item in found if not item.what], notes)
    if len(images) == 1:
        (chosen,) = images
        if which.strip().casefold() not in (chosen.handle, chosen.number, chosen.description.casefold()):
            notes.append(f"For '{which}' the series {chosen.number or chosen.uid} was taken: '{chosen.description}'.")
        return chosen
    if len(found) == 1:
        raise InputError(
            f"The DICOM series '{which}' in '{where}' holds no image: {found[0].what}.",
            f"Choose a series of images:\n{_listing([item for item in series if not item.what])}",
        )
    if found:
        raise InputError(
            f"{len(found)} DICOM series in '{where}' fit '{which}':\n{_listing(found)}\n",
            "Choose one by the last word of its line, or give its own folder.",
        )
    raise InputError(f"'{where}' has no DICOM series '{which}'.", f"It has:\n{_listing(series)}")


def _listing(series: Sequence[Series]) -> str:
    lines = [f"  {item.line()}" for item in series[:MAX_LISTED]]
    if len(series) > MAX_LISTED:
        lines.append(f"  and {len(series) - MAX_LISTED} more (medclipsam series lists them all)")
    return "\n".join(lines)
