"""Which images are exported, under which names, and what is asked of each.

Inputs are a folder tree of image files and DICOM series, or a table with an image and its prompt on each line. Prompts
are the same for all images, or come with the table; a label is what the mask is called in the dataset.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..files.claim import LOCK
from ..files.json_text import parse_json
from ..volumes.dicom_geometry import are_pictures
from ..volumes.dicom_header import quiet
from ..volumes.dicom_series import find_series, fitting
from ..volumes.read import PICTURE_SUFFIXES, VOLUME_SUFFIXES

DICOM_SUFFIXES = (".dcm", ".ima")
IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, *PICTURE_SUFFIXES)
SEGMENTATION = ".seg.nrrd"
REQUEST = "export.json"
"""In a dataset that an export wrote: what it was made by."""

COLUMNS = ("image", "prompt", "label", "negative", "case")


@dataclass(frozen=True)
class Case:
    """One image.

    Args:
        name: in the dataset: letters, digits, dots, dashes and underscores; unique.
        image: a file, or the folder of a DICOM series.
        prompts: label -> prompt.
        negative: what not to take.
        series: of a folder with several, its UID or what else `read_volume` takes.
        phase: of a series with several images at one position.
    """

    name: str
    image: Path
    prompts: Mapping[str, str]
    negative: str | None = None
    series: str | None = None
    phase: str | None = None

    def choice(self) -> dict[str, str]:
        """What `read_volume` is told beside the path."""
        asked = {"series": self.series, "phase": self.phase}
        return {name: value for name, value in asked.items() if value is not None}


def check_case(name: str) -> None:
    """Refuse a name that could lead out of a dataset's folder.

    Raises:
        InputError: it holds more than letters, digits, dots, dashes and underscores, or begins with a dot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise InputError(
            f"'{name}' is no name for a case.", "Use letters, digits, dots, dashes and underscores, no dot first."
        )


def read_prompts(path: Path) -> dict[str, str]:
    """Prompts by label: a JSON object {label: prompt}, or a text file with a prompt a line ("label: prompt" or both).

    Raises:
        InputError: unreadable, empty, of another shape, or a label twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            found = parse_json(text)
            if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
                raise InputError(f"'{path}' is no object of prompts by label.", 'Write {"tumor": "brain tumor"}.')
            pairs = list(found.items())
        else:
            lines = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
            cut = [line.partition(":") for line in lines]
            pairs = [(label.strip(), prompt.strip() if colon else label) for label, colon, prompt in cut]
        "".join(label + prompt for label, prompt in pairs).encode()  # half characters, as JSON can have them
    except (OSError, ValueError) as error:
        raise InputError(f"The prompts '{path}' cannot be read: {error}.", "Give a text file or JSON.") from error
    if not pairs or not all(label.strip() and prompt.strip() for label, prompt in pairs):
        raise InputError(f"'{path}' holds no prompts, or an empty one.", "Write a prompt a line.")
    if len({label for label, _ in pairs}) < len(pairs):
        raise InputError(f"'{path}' has the same label twice.", "Give each structure once.")
    return dict(pairs)


def find_cases(
    inputs: Path, prompts: Mapping[str, str] | None, series: str | None = None, phase: str | None = None
) -> list[Case]:
    """Find the images of a folder tree, or of a table (.csv) that names them and, with a column `prompt`, what to ask.

    Args:
        prompts: by label, for images that have none of their own.
        series: only the DICOM series that it fits, by UID, number or part of the description.
        phase: of series with several images at one position.

    Raises:
        InputError: nothing there, an unknown column, an image that is missing, or no prompt for one.
    """
    if inputs.is_file() and inputs.suffix.lower() == ".csv":
        return [replace(case, series=series, phase=phase) for case in _from_table(inputs, prompts)]
    if not inputs.exists():
        raise InputError(f"There is no '{inputs}'.", "Give a folder of images, a table (.csv) or an image.")
    if not prompts:
        raise InputError("No prompts were given.", "Name them by -p, or a file of them by --prompts.")
    if inputs.is_file():
        return [Case(_names([Path(inputs.name)])[0], inputs, dict(prompts), series=series, phase=phase)]
    images = _images(inputs, series)
    if not images:
        which = f" of the DICOM series '{series}'" if series else ""
        raise InputError(f"'{inputs}' holds no images{which}.", f"Readable are DICOM and {', '.join(IMAGE_SUFFIXES)}.")
    names = _names([path for path, _, _ in images])
    return [Case(name, image, dict(prompts), series=uid, phase=phase) for name, (_, image, uid) in zip(names, images)]


def _images(folder: Path, series: str | None) -> list[tuple[Path, Path, str | None]]:
    """Image files and DICOM series, each with a relative path to name it by, and its UID where others lie beside it.

    Left out are hidden files and folders, datasets that an export wrote, segmentations, and second ways by links.
    """
    if _is_export(folder):
        raise InputError(f"'{folder}' holds an export itself.", "Give the folder of the images.")
    found: list[tuple[Path, Path, str | None]] = []
    seen: set[Path] = set()
    for path in _walk(folder):
        inside = path.relative_to(folder)
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if path.is_dir():
            with quiet():
                found += [(inside / name, image, uid) for name, image, uid in _series(path, series)]
        elif (
            series is None
            and path.is_file()
            and path.name.lower().endswith(IMAGE_SUFFIXES)
            and not path.name.lower().endswith(SEGMENTATION)
        ):
            found.append((inside, path, None))
    return found


def _walk(folder: Path) -> list[Path]:
    """A folder and what lies in it, sorted, files and folders before links to them."""
    paths = [folder]
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and not _is_export(Path(place, name))]
        paths += [Path(place, name) for name in (*folders, *files) if not name.startswith(".")]
    return sorted(paths, key=lambda path: (path.is_symlink(), path))


def _is_export(folder: Path) -> bool:
    """Whether a folder is a dataset, or predictions, that this program writes."""
    return (folder / REQUEST).is_file() and (folder / LOCK).is_file()


def _series(folder: Path, which: str | None) -> list[tuple[str, Path, str | None]]:
    """The DICOM series of images that lie in a folder, not below it: a name, the folder or file, and the UID."""
    try:
        every = [each for each in find_series(folder, deep=False)[0] if not each.what]
    except InputError:  # none
        return []
    every = [each for each in every if not each.is_localizer] or every
    found: list[tuple[str, Path, str | None]] = []
    for each in every if which is None else fitting(every, which):
        if are_pictures(each.frames()) or (len(every) > 1 and len(each.files) == 1):
            found += [(path.name, path, None) for path in each.files]
        elif len(every) == 1:
            found.append(("", folder, each.uid if which is not None else None))
        else:
            found.append(("_".join(filter(None, (each.number, each.description or each.uid))), folder, each.uid))
    names = [name for name, _, _ in found]
    return [(f"{name}_{uid}" if uid and names.count(name) > 1 else name, image, uid) for name, image, uid in found]


def _from_table(table: Path, prompts: Mapping[str, str] | None) -> list[Case]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), [name.strip().lower() for name in reader.fieldnames or []]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{table}' cannot be read: {error}.", "It must be CSV in UTF-8.") from error
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or "image" not in columns:
        what = f"the unknown column '{unknown[0]}'" if unknown else "no column 'image'"
        raise InputError(f"'{table}' has {what}.", f"Columns are {', '.join(COLUMNS)}; only image is needed.")
    asked: dict[str, tuple[Path, dict[str, str], str | None]] = {}
    for line, row in enumerate(rows, 2):
        row = {name.strip().lower(): (value or "").strip() for name, value in row.items() if name and value is not None}
        image = table.parent / row["image"]
        if not row["image"] or not image.exists():
            raise InputError(f"Line {line} of '{table}': there is no image '{row['image']}'.", "Correct the path.")
        own = {row.get("label") or row["prompt"]: row["prompt"]} if row.get("prompt") else dict(prompts or {})
        if not own:
            raise InputError(f"Line {line} of '{table}' has no prompt.", "Fill it in, or give prompts for all by -p.")
        key = row.get("case") or row["image"]
        _, known, _ = asked.setdefault(key, (image, {}, row.get("negative") or None))
        if asked[key][0] != image or known.keys() & own.keys():
            raise InputError(f"Line {line} of '{table}': '{key}' was there before.", "Give each label of a case once.")
        known.update(own)
    if not asked:
        raise InputError(f"'{table}' holds no images.", "Add a line for each.")
    names = _names([Path(key) for key in asked])
    return [Case(name, image, own, negative) for name, (image, own, negative) in zip(names, asked.values())]


def _names(paths: list[Path]) -> list[str]:
    """Names fit for files, from relative paths; where two would be the same, with a check sum of the path."""
    plain = []
    for path in paths:
        text = path.as_posix()
        suffix = next((each for each in (*IMAGE_SUFFIXES, *DICOM_SUFFIXES) if text.lower().endswith(each)), "")
        cleaned = re.sub(r"[^A-Za-z0-9.-]+", "_", text[: len(text) - len(suffix)]).strip("._-")
        plain.append(cleaned[-100:] or "case")
    lower = [name.lower() for name in plain]
    return [name if lower.count(name.lower()) == 1 else f"{name}-{_sum(path)}" for name, path in zip(plain, paths)]


def _sum(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:8]
