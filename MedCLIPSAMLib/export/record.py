"""Checks of the lines of a manifest: a dataset may come from elsewhere, and must not reach beyond its own folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError

_FILE = re.compile(
    r"(imagesTr/|labelsTr/|uncertainty/)?(?P<name>[^/\\]+?)(_0000|_uncertainty)?\.(seg\.nrrd|nii\.gz|nii|nrrd|mha|png|dcm)"
)
_OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(("negative", "series", "modality", "problem", "remedy"), str),
    **{"prompts": dict, "notes": list, "source": dict, "folder": int, "uncertainty": int | float},
}
_FOLDERS = ("imagesTr", "labelsTr", "uncertainty")
_PARTS = (*_FOLDERS, "report", "replaced", "struck", *(f"struck/{name}" for name in _FOLDERS))
_OWN = (".lock", "export.json", "manifest.jsonl", "image_folders.json", *_PARTS)


def check_record(record: Any) -> dict[str, Any]:
    """Check the fields that commands rely on, and return the record.

    Raises:
        ValueError: a field is missing or has the wrong type, the case's name leads out of the folder, or one of its
            files is not named after it.
    """
    if not isinstance(record, Mapping):
        raise ValueError("it is not a JSON object")
    for name, kind in (("case", str), ("image", str), ("status", str), ("labels", dict), ("files", list)):
        if not isinstance(record.get(name), kind):
            raise ValueError(f"'{name}' is missing or has the wrong type")
    case = record["case"]
    if not case or len(case) > 250 or case.startswith(".") or re.search(r"[/\\\0\n]", case):
        raise ValueError(f"'{case[:50]}' cannot be the name of a case")
    for file in record["files"]:
        found = _FILE.fullmatch(file) if isinstance(file, str) else None
        if not found or case not in _names(found):
            raise ValueError(f"the case '{case}' cannot have the file {str(file)[:100]!r}")
    for label in record["labels"].values():
        if not isinstance(label, dict) or not all(isinstance(label.get(name), str) for name in ("status", "unit")):
            raise ValueError(f"a label of '{case}' lacks its status or unit")
        if not isinstance(label.get("size"), int | float):
            raise ValueError(f"a label of '{case}' lacks its size")
        for name, what in (("score", "score"), ("expected_dsc", "expected DSC")):  # a mask given by hand has neither
            if not isinstance(label.get(name, "" if name == "score" else None), int | float | None):
                raise ValueError(f"the {what} of a label of '{case}' is not a number")
    for name, optional in _OPTIONAL.items():
        if not isinstance(record.get(name), optional | None):
            raise ValueError(f"'{name}' of '{case}' has the wrong type")
    prompts = [label.get("prompt") for label in record["labels"].values()] + [*(record.get("prompts") or {}).values()]
    texts = [*prompts, *(record.get("notes") or ()), (record.get("source") or {}).get("sha256")]
    if not all(isinstance(text, str | None) for text in texts):
        raise ValueError(f"a prompt, a note or the checksum of '{case}' is not text")
    return dict(record)


def check_own(folder: Path) -> None:
    """Refuse a dataset in which a file or folder of this program is a symbolic link: writing would leave the dataset.

    Raises:
        InputError: there is such a link, which is named.
    """
    for name in _OWN:
        if (folder / name).is_symlink():
            raise InputError(
                f"'{folder / name}' is a link to another place.", "Copy its target into the dataset's folder."
            )


def _names(found: re.Match[str]) -> tuple[str, ...]:
    """Return the cases that a file may belong to: "a_0000" may be the name of a case, or an image of case "a"."""
    return found["name"], found["name"] + (found[3] or "")
