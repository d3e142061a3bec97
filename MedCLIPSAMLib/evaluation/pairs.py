"""Pairs of predictions and truths, by the names in two folders or by a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.files.csv_text import filled, read_table
from MedCLIPSAMLib.files.json_text import read_json
from MedCLIPSAMLib.files.regular import check_file
from MedCLIPSAMLib.files.relative import listed_path
from MedCLIPSAMLib.volumes.dicom_segmentation import is_dicom_segmentation
from MedCLIPSAMLib.volumes.suffixes import IMAGE_SUFFIXES
from MedCLIPSAMLib.volumes.volume import stem

WORD = (
    r"(mask|msk|seg|dseg|segmentation|gt|groundtruth|ground[_-]truth|truth|label|labels|labelmap|annotation|pred"
    r"|prediction|0000)"
)
AFTER = re.compile(rf"(.+?)[ ._-]{WORD}", re.IGNORECASE)
"""Names of masks, or of predictions from nnU-Net's images, whose names end with a channel number."""
BESIDE = ("_uncertainty", "_saliency", "_overlay", "_montage")
"""Endings of the names, without suffix, of files that `medclipsam weak predict` and `segment` write beside a mask."""
OF_ALL = re.compile(rf"{WORD}s?(Tr|Ts)?", re.IGNORECASE)
"""Names of folders with the masks of all images, not those of one."""
FOLDERS = (
    "Its subfolders are not searched, except for one per image with the name of the image. Name the pairs in a table "
    "instead, one line prediction,truth per case."
)
NO_MASKS = (".json", ".txt", ".csv", ".log", ".html", ".md", ".npz", ".pkl")
"""Suffixes of files that programs write beside a mask under the same name."""


@dataclass(frozen=True)
class MaskPairs:
    """The files to compare.

    Attributes:
        cases: (prediction, truth) by the name of the case; the prediction is None if it is missing.
        extra: predictions without a truth.
    """

    cases: dict[str, tuple[Path | None, Path]]
    extra: list[str] = field(default_factory=list)


def pairs_of_folders(predictions: Path, truths: Path, suffix: str = "") -> MaskPairs:
    """Pair the masks of two folders by name; the formats may differ.

    A folder without masks may have one subfolder per image, with its masks. Names without an
    equal one are compared without words at their end such as "_mask", "_gt", "_seg" or "_0000".

    Args:
        suffix: end of the names of the true masks, such as "_lesion"; other files there are ignored.

    Raises:
        InputError: a folder is missing, there is no mask in one of them, no names match, or two files share a name.
    """
    found = _mask_files(predictions)
    true = {name.removesuffix(suffix): path for name, path in _mask_files(truths).items() if name.endswith(suffix)}
    found |= _other_formats(predictions, true.keys() - found.keys())
    for name, path in _other_formats(truths, {f"{name}{suffix}" for name in found.keys() - true.keys()}).items():
        true[name.removesuffix(suffix)] = path
    for folder, masks, end in ((truths, true, suffix), (predictions, found, "")):
        if not masks:
            remedy = f"Readable formats: {', '.join(IMAGE_SUFFIXES)}, DICOM Segmentations and RT Structure Sets."
            if any(path.is_dir() for path in folder.iterdir()):
                remedy = FOLDERS
            which = f" with a name that ends with '{end}'" if end else ""
            raise InputError(f"The folder '{folder}' holds no mask{which}.", remedy)
    by_plain = _plain([name for name in found if name not in true])
    cases: dict[str, tuple[Path | None, Path]] = {}
    used = set()
    for name, path in sorted(true.items()):
        match = name if name in found else by_plain.get(strip_kind_words(name))
        used.add(match)
        cases[name] = (found[match] if match is not None else None, path)
    if not any(prediction for prediction, _ in cases.values()):
        raise InputError(
            f"No file in '{predictions}' has the name of one in '{truths}': they are named '{min(found)}' and "
            f"'{min(true)}', for example.",
            _pairing_remedy(found, true) if any(path.is_file() for path in found.values()) else FOLDERS,
        )
    return MaskPairs(cases, sorted(found.keys() - used))


def _pairing_remedy(found: Iterable[str], true: Iterable[str]) -> str:
    """Say how names can be made to match: by the endings of the true masks' names, if only these differ."""
    ends = {name.removeprefix(case) for case in found for name in true if name.startswith(case)}
    if ends:
        return f"Give the ending of the true masks' names with --suffix: {' or '.join(sorted(ends)[:4])}."
    return "Give them the same names, give the true masks' ending with --suffix, or evaluate a table of pairs."


def pairs_of_files(prediction: Path, truth: Path) -> MaskPairs:
    """Pair two masks; a folder holds the masks of one image, one file each.

    Raises:
        InputError: a file does not exist.
    """
    for path in (prediction, truth):
        if not path.is_dir():
            check_file(path)
    return MaskPairs({stem(truth): (prediction, truth)})


def pairs_of_table(table: Path) -> MaskPairs:
    """Read pairs from a table with the columns prediction and truth, and optionally case, for names.

    The delimiter is a comma, semicolon or tab. Paths are relative to the table; an empty prediction is a missing one.

    Raises:
        InputError: the table cannot be read, lacks a column, has a line without a truth, or has a case twice.
    """
    cases: dict[str, tuple[Path | None, Path]] = {}
    for line, fields in read_table(table):
        row = filled(fields)
        if not row.keys() >= {"prediction", "truth"} or not row["truth"]:
            raise InputError(
                f"Line {line} of '{table}' names no truth.",
                "Use the columns prediction,truth and, optionally, case.",
            )
        truth = listed_path(table.parent, row["truth"])
        name = row.get("case") or stem(truth)
        if name in cases:
            raise InputError(f"Line {line} of '{table}': '{name}' occurs twice.", "Add a column case, with names.")
        predicted = listed_path(table.parent, row["prediction"]) if row["prediction"] else None
        cases[name] = (predicted, truth)
    if not cases:
        raise InputError(f"'{table}' holds no cases.", "Use the columns prediction,truth, with one line per case.")
    return MaskPairs(cases)


def strip_kind_words(name: str) -> str:
    """Remove words for the kind of file, and lowercase the rest: "case1_mask" becomes "case1"."""
    match = AFTER.fullmatch(name)
    return (strip_kind_words(match[1]) if match else name).lower()


def label_names(path: Path) -> dict[str, str]:
    """Read the names of label values beside a mask, from labels.json or nnU-Net's dataset.json; {} if there are none.

    Both {"tumor": 1} and {"1": "tumor"} are read.

    Raises:
        InputError: two names differ only in case.
    """
    for place in (path.parent / "labels.json", path.parent / "dataset.json", path.parent.parent / "dataset.json"):
        try:
            content = read_json(place)
        except (OSError, ValueError):
            continue
        is_object = isinstance(content, Mapping) and ("labels" in content or place.name == "labels.json")
        labels = _values_by_name(content.get("labels", content)) if is_object else {}
        names = {str(value): str(name).lower() for name, value in labels.items()}
        if not labels or len(names) < len(labels):  # a class for each file, for example
            continue
        if len(set(names.values())) < len(names):
            raise InputError(f"Labels of '{place}' differ only in case.", "Give each label a unique name.")
        return names
    return {}


def _values_by_name(labels: Any) -> dict[str, int]:
    """Return {"tumor": 1} from that or from {"1": "tumor"} (Decathlon, nnU-Net v1); {} from anything else."""
    if not isinstance(labels, Mapping):
        return {}
    if all(isinstance(name, str) and value.isdigit() for value, name in labels.items()):
        labels = {name: int(value) for value, name in labels.items()}
    return dict(labels) if all(isinstance(value, int) for value in labels.values()) else {}


def _plain(names: Iterable[str]) -> dict[str, str]:
    """Index names by their plain names (see `strip_kind_words`), which must be unique."""
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(strip_kind_words(name), []).append(name)
    twice = next((mask for mask in plain.values() if len(mask) > 1), None)
    if twice:
        raise InputError(f"'{twice[0]}' and '{twice[1]}' are the same case.", "Keep one, or name the pairs in a table.")
    return {name: masks[0] for name, masks in plain.items()}


def _other_formats(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Find files with the name of a case in a format that cannot be scored, which must not count as missing."""
    wanted = set(names)
    others = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and _name(path) in wanted]
    return {_name(path): path for path in others if not path.name.lower().endswith((*IMAGE_SUFFIXES, *NO_MASKS))}


def _name(path: Path) -> str:
    return path.name if path.is_dir() else stem(path)


def masks_in(folder: Path) -> list[Path]:
    """List the mask files of a folder, without what this program wrote beside them."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    paths = [path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES) or is_dicom_segmentation(path)]
    of_masks = {f"{stem(path)}{ending}" for path in paths for ending in BESIDE}
    return [path for path in paths if stem(path) not in of_masks]


def _mask_files(folder: Path) -> dict[str, Path]:
    """Find the masks of a folder by name without suffix: its files, or if there are none, its subfolders of masks."""
    if folder.is_file():
        raise InputError(f"'{folder}' is a file, not a folder of masks.", "Give two folders, or two files.")
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'.", "Check the path.")
    paths = masks_in(folder)
    if not paths:
        inner = [path for path in sorted(folder.glob("[!.]*")) if path.is_dir() and not OF_ALL.fullmatch(path.name)]
        by_name = {path.name: masks_in(path) for path in inner}
        is_whole = lambda name, files: len(files) == 1 and files[0].name.startswith(name)  # as MONAI writes it
        return {name: files[0] if is_whole(name, files) else folder / name for name, files in by_name.items() if files}
    files: dict[str, Path] = {}
    for path in paths:
        name = stem(path)
        if name in files:
            raise InputError(f"'{path.name}' and '{files[name].name}' in '{folder}' are the same case.", "Keep one.")
        files[name] = path
    return files
