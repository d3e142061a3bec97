"""Files whose name ends as another kind of file does: they are read by their content, and the user is told."""

from __future__ import annotations

import re
from pathlib import Path

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.volumes.volume import stem

ENDINGS = {
    "a PNG image": (".png",),
    "a JPEG image": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "a BMP image": (".bmp", ".dib"),
    "a TIFF image": (".tif", ".tiff"),
    "DICOM": (".dcm", ".dicom"),
    "uncompressed NIfTI": (".nii",),
    "NIfTI compressed by gzip": (".nii.gz",),
    "NRRD": (".nrrd", ".nhdr"),
    "MetaImage": (".mha", ".mhd"),
    "a zip file": (".zip",),
}
"""What a file is -> how its name ends; the first one where there is a choice."""
BY_NAME = {"NRRD": rb"NRRD\d", "MetaImage": rb"\s*(ObjectType|NDims|Comment)\s*="}
"""What ITK reads by its name only -> how it begins."""


def misnamed_notes(path: Path, kind: str) -> list[str]:
    """Say that a name ends as another kind of file does, as a list of one sentence or none; other endings say nothing.

    Args:
        kind: what the file is, of `ENDINGS`.
    """
    ending = _ending(path)
    return [f"The file is {kind}, in spite of its ending {ending}."] if ending and ending not in ENDINGS[kind] else []


def check_name(path: Path) -> None:
    """Refuse a file whose kind is known and that is not read under its name.

    Raises:
        InputError: with the name that it would be read under.
    """
    with path.open("rb") as file:
        head = file.read(80)
    for kind, beginning in BY_NAME.items():
        if re.match(beginning, head):
            if path.name.endswith(ENDINGS[kind]):  # the name is right, and the file is damaged
                return
            ending = ENDINGS[kind][0]
            raise InputError(
                f"Expected a name that ends in {ending}, as the file is {kind}, got '{path}'.",
                f"Rename it to '{stem(path) if _ending(path) else path.name}{ending}'.",
            )


def _ending(path: Path) -> str:
    """Return the ending of a name in small letters where it is one of those above; else nothing."""
    name = path.name.lower()
    return next((ending for endings in ENDINGS.values() for ending in endings if name.endswith(ending)), "")
