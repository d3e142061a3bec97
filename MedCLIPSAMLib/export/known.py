"""The image and prompts that each case of a dataset was made from, and whether they have changed since."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..volumes.dicom_header import is_dicom
from ..volumes.dicom_missing import NAME as DICOMDIR
from ..volumes.nifti_file import beside
from ..volumes.suffixes import DETACHED_SUFFIXES, PAIR_SUFFIXES, VOXEL_SUFFIXES
from .cases import Case
from .folder_tree import walk
from .image_names import ImageNames

Records = Mapping[str, Mapping[str, Any]]
HEAD = 1 << 20
"""Maximum bytes of a header that may name voxel files."""
_SUM = re.compile(r"-[0-9a-f]{8}$")


class Sources:
    """Descriptions of the files of images, {"size", "time", "sha256"} as JSON values; each image is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, dict[str, Any]] = {}

    def describe(self, image: Path) -> dict[str, Any]:
        """Describe a file, or the files of a folder; {} if it cannot be read."""
        if image not in self._known:
            try:
                digest = hashlib.sha256()
                for path in _files(image):
                    with path.open("rb") as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
                self._known[image] = {**_stat(image), "sha256": digest.hexdigest()}
            except OSError:
                self._known[image] = {}
        return self._known[image]

    def is_same(self, image: Path, before: Mapping[str, Any]) -> bool:
        """Tell whether an image is unchanged; its content is compared only if its time or size differs."""
        try:
            if _stat(image).items() <= before.items():
                return True
        except OSError:
            return True  # the image is gone; its case stays
        return self.describe(image).get("sha256") == before.get("sha256")


def with_known_names(cases: Sequence[Case], records: Records, images: ImageNames) -> list[Case]:
    """Give images the names that they already have in the dataset, with or without a checksum.

    Whether a name needs a checksum depends on the files beside the image, which may have changed. A new name that
    differs from a known one only in upper and lower case gets a checksum, as many file systems do not distinguish them.
    """
    names = {_place(record): name for name, record in records.items()}
    lower = {name.lower() for name in records}
    named = []
    for case in cases:
        place = _place(_describe(case, images))
        known = names.get(place, case.name)
        is_own = case.name in records and _place(records[case.name]) == place
        if not is_own and _SUM.sub("", known) == _SUM.sub("", case.name):
            case = replace(case, name=known)
        if case.name not in records and case.name.lower() in lower:
            case = replace(case, name=f"{case.name}-{hashlib.sha256(os.fsencode(case.image)).hexdigest()[:8]}")
        named.append(case)
    return named


def check_prompts(cases: Sequence[Case], records: Records) -> None:
    """Refuse prompts that differ from those in the dataset.

    That is, a different prompt for a case that the dataset has, or for a label that has the same prompt in all cases.

    Raises:
        OutputError: the prompts differ; the case or label and the earlier prompt are named.
    """
    remedy = "Choose another folder, or give the same prompts as before to resume."
    for case in cases:
        before = _prompts_of(records[case.name]) if case.name in records else {}
        for name, text in _prompts_of({"prompts": case.prompts, "negative": case.negative}).items():
            if name in before and before[name] != text:
                raise OutputError(
                    f"'{case.name}' is in the dataset with {_describe_prompt(name, before[name])}.", remedy
                )
    now, then = _texts({"prompts": case.prompts, "negative": case.negative} for case in cases), _texts(records.values())
    for name in now.keys() & then.keys():
        if len(now[name]) == len(then[name]) == 1 and now[name] != then[name]:
            raise OutputError(f"The dataset was made with {_describe_prompt(name, next(iter(then[name])))}.", remedy)


def exchanged(cases: Sequence[Case], records: Records, sources: Sources, images: ImageNames) -> set[str]:
    """Find the cases whose image has changed, except those whose labels a person has set.

    Raises:
        InputError: an image from another place would replace the one that the dataset has under the same name.
    """
    found = set()
    for case in cases:
        record = records.get(case.name, {})
        before = record.get("source")
        if not before or "trusted" in record or sources.is_same(case.image, before):
            continue
        if _place(record) != _place(_describe(case, images)):
            raise InputError(
                f"The dataset has a case '{case.name}' of another image, '{record['image']}'.",
                "Name the cases in the column case of a table, or choose another folder.",
            )
        found.add(case.name)
    return found


def describing(
    cases: Sequence[Case], out: Path, records: Records, images: ImageNames, write: Callable[[Mapping[str, Any]], None]
) -> Callable[[Mapping[str, Any]], None]:
    """Wrap `write` to also record the prompts and the source of a case, after removing files it no longer has.

    If a run is killed in between, the case is processed again, as its source is not recorded yet.
    """
    by_name = {case.name: case for case in cases}

    def complete(record: Mapping[str, Any]) -> None:
        case, before = by_name[record["case"]], records.get(record["case"], {})
        about: dict[str, Any] = {"prompts": dict(case.prompts), "negative": case.negative}
        source = record["source"]
        about["source"] = {name: source[name] for name in source if name != "time" or not images.anonymous}
        for file in set(before.get("files", ())) - set(record["files"]):
            for place in (out, out / "struck"):
                (place / file).unlink(missing_ok=True)
        described = _describe(case, images)
        images.store()
        write({**images.scrub(record, case.image, case.folder), **about, **described})

    return complete


def _describe(case: Case, images: ImageNames) -> dict[str, Any]:
    return images.describe(case.name, case.image, case.folder, case.series)


def _place(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what distinguishes the image of a record from others."""
    return record["image"], record.get("folder"), record.get("series")


def _prompts_of(record: Mapping[str, Any]) -> dict[str, str | None]:
    """Return a record's prompts by label, the negative one under ""; None for a label that a person added by hand."""
    if "prompts" in record:
        return {**record["prompts"], "": record.get("negative")}
    return {name: label.get("prompt") for name, label in record["labels"].items()}


def _texts(records: Any) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for record in records:
        for name, text in _prompts_of(record).items():
            found.setdefault(name, set()).add(text)
    return found


def _describe_prompt(name: str, text: str | None) -> str:
    if not name:
        return f"the negative prompt '{text}'" if text else "no negative prompt"
    return f"the prompt '{text}' for '{name}'" if text else f"no prompt for '{name}'"


def _files(image: Path) -> list[Path]:
    """List the files of an image: the file, with the voxel files that a header names, or those of a DICOM folder.

    If a folder holds no DICOM itself, as when a series is split into subfolders, the files below it are listed.
    """
    if image.is_dir():
        of = lambda paths: sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
        files = of(image.iterdir())
        return files if any(is_dicom(path) and path.name.upper() != DICOMDIR for path in files) else of(walk(image))
    voxels: list[Path] = []
    if image.name.lower().endswith(PAIR_SUFFIXES):
        voxels = list(filter(None, [beside(image, VOXEL_SUFFIXES)]))
    elif image.name.lower().endswith(DETACHED_SUFFIXES):
        with image.open("rb") as file:  # voxels may follow the header
            lines = file.read(HEAD).decode(errors="replace").splitlines()
        names = (re.split("[:=]", line, maxsplit=1)[-1].strip().removeprefix("./") for line in lines)
        plain = (name for name in names if name not in ("", ".", "..") and not re.search(r"[/\\\0]", name))
        for name in plain:
            pattern = re.sub(r"%\d*d", "*", glob.escape(name.split()[0])) if "%" in name else None  # a file per slice
            voxels += sorted(image.parent.glob(pattern)) if pattern else [image.with_name(name)]
    return [image, *(path for path in voxels if os.path.isfile(path))]


def _stat(image: Path) -> dict[str, int]:
    about = [path.stat() for path in _files(image)]
    return {
        "size": sum(status.st_size for status in about),
        "time": max((status.st_mtime_ns for status in about), default=0),
    }
