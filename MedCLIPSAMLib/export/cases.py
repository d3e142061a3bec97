"""The images to export, their names and their prompts.

The input is a folder tree of image files and DICOM series, or a table with an image and its prompt on each line. The
prompts are the same for all images, or come from the table. A label is the name of a mask in the dataset.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from ..counted import counted
from ..errors import InputError
from ..files.csv_text import filled, read_table
from ..files.regular import check_regular
from ..files.relative import listed_path, relative_path
from ..volumes.dicom_header import quiet
from ..volumes.read import is_image
from ..volumes.suffixes import IMAGE_SUFFIXES
from ..volumes.volume import DEVICES
from .folder_tree import is_own, walk
from .left_out import left_out, pictures_of_viewers
from .masks_beside import masks_among
from .series_below import series_below

log = logging.getLogger(__name__)

DICOM_SUFFIXES = (".dcm", ".ima")
SEGMENTATION = ".seg.nrrd"
OF_MACOS = "._"
"""Prefix of the files in which macOS stores metadata on foreign file systems."""
SOURCES = "sourcedata"
OF_SUBJECT = re.compile("(.+/)?sub-[^/]+/")
PATTERNS = (
    "Change the patterns: '*.JPG' does not match 'a.jpg', nor does '*/a.jpg' match an image in the folder itself."
)
TABLES = (".csv", ".tsv")
SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
COLUMNS = ("image", "prompt", "label", "negative", "case")


@dataclass(frozen=True)
class Case:
    """One image.

    Args:
        name: unique name in the dataset, of letters, digits, dots, dashes and underscores.
        image: a file, or the folder of a DICOM series.
        prompts: label -> prompt.
        negative: a prompt for what to exclude.
        series: which DICOM series of a folder with several: its UID, or anything else that `read_volume` accepts.
        phase: which phase of a series with several images at one position.
        root: the folder that the user named, to which paths in the manifest are relative; None for the image's own.
    """

    name: str
    image: Path
    prompts: Mapping[str, str]
    negative: str | None = None
    series: str | None = None
    phase: str | None = None
    root: Path | None = None

    @property
    def folder(self) -> Path:
        """Folder to which the image's path is relative."""
        return self.image.parent if self.root is None else self.root

    def choice(self) -> dict[str, str]:
        """Return the arguments of `read_volume` other than the path."""
        requested = {"series": self.series, "phase": self.phase}
        return {name: value for name, value in requested.items() if value is not None}


def check_case(name: str) -> None:
    """Refuse a name that could lead out of a dataset's folder.

    Raises:
        InputError: it contains anything but letters, digits, dots, dashes and underscores, or begins with a dot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise InputError(
            f"'{name}' cannot be the name of a case.",
            "Use letters, digits, dots, dashes and underscores, and do not begin with a dot.",
        )


def check_names(cases: Sequence[Case]) -> None:
    """Refuse two cases with the same name.

    Raises:
        InputError: naming their images.
    """
    seen: dict[str, Case] = {}
    for case in cases:
        if seen.setdefault(case.name, case) is not case:
            raise InputError(
                f"'{seen[case.name].image}' and '{case.image}' both have the name '{case.name}'.",
                "Give each case a different name.",
            )


@dataclass(frozen=True)
class ImageChoice:
    """The choice of images in a folder tree.

    Args:
        series: take only the DICOM series that match this UID, number, or words of the description.
        include: take only images whose path or name matches one of these patterns, such as "*.dcm" or "patient1/*".
            Without patterns all images are taken except masks; patterns take masks too.
        exclude: leave out images whose path or name matches one of these patterns.
    """

    series: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, inside: Path) -> bool:
        """Tell whether a path, relative to the folder, is taken."""
        fits = lambda pattern: fnmatchcase(inside.as_posix(), pattern) or fnmatchcase(inside.name, pattern)
        return (not self.include or any(map(fits, self.include))) and not any(map(fits, self.exclude))


def find_cases(
    inputs: Path,
    prompts: Mapping[str, str] | None,
    series: str | None = None,
    phase: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    negative: str | None = None,
    notify: Callable[[str], None] = log.warning,
) -> list[Case]:
    """Find the images of a folder tree, or of a table (.csv, .tsv) of their paths and, optionally, prompts.

    Args:
        prompts: label -> prompt, for images without a prompt in the table.
        negative: what to exclude, for images without a negative prompt in the table.
        series, include, exclude: see `ImageChoice`; patterns also choose among the images of a table.
        phase: which phase of series with several images at one position.
        notify: see `images_below`.

    Raises:
        InputError: there are no images, a column is unknown, an image is missing, or an image has no prompt.
    """
    choice = ImageChoice(series, tuple(include), tuple(exclude))
    check_regular(inputs)
    if inputs.is_file() and inputs.suffix.lower() in TABLES:
        cases = [replace(case, series=series, phase=phase) for case in _from_table(inputs, prompts, negative)]
        cases = [case for case in cases if choice.takes(relative_path(case.image, inputs.parent))]
        if not cases:
            raise InputError(f"No image of '{inputs}' matches the patterns.", PATTERNS)
        return cases
    if not inputs.exists():
        raise InputError(f"There is no '{inputs}'.", "Give a folder of images, a table (.csv, .tsv) or an image.")
    if not prompts:
        raise InputError("No prompts were given.", "Say what to segment in every image, or name a file of prompts.")
    if inputs.suffix.lower() in SPREADSHEETS and inputs.is_file():
        raise InputError(f"Expected images or a table as text, got the spreadsheet '{inputs}'.", "Save it as CSV.")
    if inputs.is_file():
        (name,) = case_names([Path(inputs.name)])
        return [Case(name, inputs, dict(prompts), negative, series, phase)]
    images = images_below(inputs, choice, notify)
    names = case_names([path for path, _, _ in images])
    asked = dict(prompts), negative
    return [Case(name, image, *asked, uid, phase, inputs) for name, (_, image, uid) in zip(names, images)]


def images_below(
    folder: Path, choice: ImageChoice = ImageChoice(), notify: Callable[[str], None] = log.warning
) -> list[tuple[Path, Path, str | None]]:
    """Find the images in a folder tree.

    Left out are hidden files and folders, results of this program, duplicates by links, segmentations, masks beside
    images, pictures on DICOM discs, and files that are not images.

    Args:
        notify: called with the number and kinds of files left out, and with series that are spread over folders.

    Returns:
        For each image: a relative path to name it by; its file or folder; and the UID of its series if there are other
        series beside it.

    Raises:
        InputError: there are no images, or this program wrote the folder.
    """
    if is_own(folder):
        raise InputError(f"'{folder}' itself holds an export or other results.", "Give the folder of the images.")
    found: list[tuple[Path, Path, str | None]] = []
    segmentations: list[Path] = []
    others: list[Path] = []
    dicom: dict[Path, str] = {}
    seen: set[Path] = set()
    paths = walk(folder)
    with quiet():
        series = series_below(paths, choice.series, dicom, notify)
    pictures = pictures_of_viewers(paths, any(series.values())) if not choice.include else set()
    for path in paths:
        inside = path.relative_to(folder)
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if path.is_dir():
            found += [(inside / name, image, uid) for name, image, uid in series.get(path, [])]
        elif choice.series is not None:
            continue
        elif not path.is_file():
            others += [] if path.name.startswith(".") else [path]
        elif path.name.startswith("."):
            others += [path] if is_image(path) and not path.name.startswith(OF_MACOS) else []
        elif path.name.lower().endswith(SEGMENTATION):
            segmentations.append(path)
        elif is_image(path) and path not in pictures:
            found.append((inside, path, None))
        else:
            others.append(path)
    for line in left_out([*segmentations, *others], [image for _, image, _ in found], dicom):
        notify(line)
    if not choice.include:
        found = _without_masks(_without_sources(found, notify), segmentations, notify)
    taken = [path for path in found if choice.takes(path[0])]
    if not taken:
        if found:
            raise InputError(
                f"None of the {counted(len(found), 'image')} in '{folder}' matches the patterns.", PATTERNS
            )
        which = f" of the DICOM series '{choice.series}'" if choice.series else ""
        raise InputError(
            f"'{folder}' holds no images{which}.", f"Readable formats are DICOM and {', '.join(IMAGE_SUFFIXES)}."
        )
    return taken


def _without_sources(
    found: list[tuple[Path, Path, str | None]], notify: Callable[[str], None]
) -> list[tuple[Path, Path, str | None]]:
    """Leave out what lies below "sourcedata" of BIDS if the images made from it are present."""
    sources = [item for item in found if SOURCES in item[0].parts]
    if not sources or all(SOURCES in item[0].parts or not OF_SUBJECT.match(item[0].as_posix()) for item in found):
        return found
    notify(f"Left out as sources of other images (sourcedata of BIDS): {counted(len(sources), 'image')}.")
    return [item for item in found if item not in sources]


def _without_masks(
    found: list[tuple[Path, Path, str | None]], segmentations: Sequence[Path], notify: Callable[[str], None]
) -> list[tuple[Path, Path, str | None]]:
    files = [image for _, image, _ in found if image.is_file() and image.name.lower().endswith(IMAGE_SUFFIXES)]
    taken = set(files)
    masks = masks_among(files, [*segmentations, *(image for _, image, _ in found if image not in taken)])
    if masks:
        first = min(str(path.name) for path in masks)
        more = f" and {len(masks) - 1} more" if len(masks) > 1 else ""
        how = "They are taken only if a pattern, a table or a path names them."
        notify(f"Left out as masks or results: {first}{more}. {how}")
    return [path for path in found if path[1] not in masks]


def _from_table(table: Path, prompts: Mapping[str, str] | None, negative: str | None) -> list[Case]:
    rows = read_table(table)
    columns = rows[0][1].keys() if rows else COLUMNS
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or "image" not in columns:
        what = f"the unknown column '{unknown[0]}'" if unknown else "no column 'image'"
        raise InputError(f"'{table}' has {what}.", f"Columns are {', '.join(COLUMNS)}; only image is needed.")
    requested: dict[Path, tuple[Path, dict[str, str], str | None]] = {}
    for line, fields in rows:
        row = filled(fields) | {"image": fields["image"].strip()}  # unlike other cells, "NA" may be a folder's name
        image = listed_path(table.parent, row["image"])
        if not row["image"] or not image.exists():
            raise InputError(f"Line {line} of '{table}': there is no image '{row['image']}'.", "Correct the path.")
        own = {row.get("label") or row["prompt"]: row["prompt"]} if row.get("prompt") else dict(prompts or {})
        if not own:
            raise InputError(f"Line {line} of '{table}' has no prompt.", "Fill it in, or give prompts for all images.")
        key, excluded = Path(row.get("case") or row["image"]), row.get("negative")
        _, known, before = requested.setdefault(key, (image, {}, excluded))
        if requested[key][0] != image or known.keys() & own.keys():
            raise InputError(f"Line {line} of '{table}': '{key}' occurs twice.", "Give each label of a case once.")
        if before and excluded and before != excluded:
            raise InputError(
                f"Line {line} of '{table}' has another negative prompt than '{key}' before.",
                "Give all lines of a case the same negative prompt.",
            )
        requested[key] = image, known | own, before or excluded
    if not requested:
        raise InputError(f"'{table}' holds no images.", "Add a line for each.")
    return [
        Case(name, image, own, other or negative, root=table.parent)
        for name, (image, own, other) in zip(case_names(list(requested)), requested.values())
    ]


def case_names(paths: list[Path]) -> list[str]:
    """Make ASCII file names from relative paths, with "e" for "é"; names that would be equal get a checksum."""
    plain = [_ascii_name(path.as_posix()) for path in paths]
    count = Counter(name.lower() for name in plain)
    return [name if count[name.lower()] == 1 else f"{name}-{_sum(path)}" for name, path in zip(plain, paths)]


def _ascii_name(path: str) -> str:
    """Make an ASCII file name from a relative path: accents are removed, other characters become underscores."""
    text = "".join(sign for sign in unicodedata.normalize("NFKD", path) if not unicodedata.combining(sign))
    suffix = next((suffix for suffix in (*IMAGE_SUFFIXES, *DICOM_SUFFIXES) if text.lower().endswith(suffix)), "")
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", text[: len(text) - len(suffix)]).strip("._-")[-100:].lstrip("._-") or "case"
    return f"_{name}" if DEVICES.fullmatch(name) else name


def _sum(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.as_posix())).hexdigest()[:8]
