"""Count the files of a folder tree that are not readable images, by kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..volumes.dicom_header import is_dicom
from ..volumes.suffixes import DETACHED_SUFFIXES, PAIR_SUFFIXES, RASTER_SUFFIXES, VOXEL_SUFFIXES
from ..volumes.volume import stem

RAW_SUFFIXES = (".raw", ".zraw", ".raw.gz")
DIRECTORY = "dicomdir"
SCENE = ".mrml"
MAX_KINDS = 20


def left_out(files: Sequence[Path], images: Sequence[Path], dicom: Mapping[Path, str]) -> list[str]:
    """Return a sentence with the number of files left out, by kind; [] if none is left out.

    Args:
        files: files that are not images, judged by their names.
        images: files and folders that are images.
        dicom: DICOM file -> what it is if it is left out, such as "segmentation"; "" for images.
    """
    headers = {image for image in images if image.name.lower().endswith((*DETACHED_SUFFIXES, *PAIR_SUFFIXES))}
    pairs = {(image.parent, stem(image).lower()) for image in headers}
    detached = {image.parent for image in headers if image.name.lower().endswith(DETACHED_SUFFIXES)}
    kinds: Counter[str] = Counter()
    for path in files:
        name = path.name.lower()
        is_voxels = name.endswith((*VOXEL_SUFFIXES, *RAW_SUFFIXES)) and (
            (path.parent, stem(path).lower()) in pairs or (path.parent in detached and name.endswith(RAW_SUFFIXES))
        )
        if dicom.get(path) == "" or is_voxels or name == DIRECTORY:
            continue
        if not path.is_file():
            kinds["link (broken)" if path.is_symlink() else "pipe or device"] += 1
        elif name.startswith("."):
            kinds["hidden"] += 1
        elif path in dicom:
            kinds[f"DICOM ({dicom[path]})"] += 1
        elif is_dicom(path):
            kinds["DICOM (damaged, or a copy)"] += 1
        else:
            of_viewer = " (beside a DICOMDIR)" if name.endswith(RASTER_SUFFIXES) else ""
            of_viewer = " (of a scene)" if path.with_suffix(SCENE).is_file() else of_viewer
            kinds[_ending(path) + of_viewer] += 1
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count} {kind}" for kind, count in ordered[:MAX_KINDS]]
    more = sum(count for _, count in ordered[MAX_KINDS:])
    told += [f"{more} of other kinds"] if more else []
    return [f"Left out as no images: {', '.join(told)}."] if told else []


def pictures_of_viewers(paths: Sequence[Path], has_dicom: bool) -> set[Path]:
    """Find pictures of scenes of 3D Slicer, and PNG, JPEG and the like on DICOM discs (below a DICOMDIR).

    Those on discs belong to a viewer or are copies of the images for browsers.

    Args:
        has_dicom: whether there are DICOM images; if not, pictures on discs are kept.
    """
    scenes = {path.with_suffix(".png") for path in paths if path.suffix.lower() == SCENE}
    if not has_dicom:
        return scenes
    discs = {path.parent for path in paths if path.name.lower() == DIRECTORY and is_dicom(path)}
    pictures = (path for path in paths if discs and path.name.lower().endswith(RASTER_SUFFIXES))
    return scenes | {path for path in pictures if not discs.isdisjoint(path.parents)}


def _ending(path: Path) -> str:
    """Return the suffix of a name, together with the one before it if the last is only ".gz", or that one is ".seg"."""
    match = re.search(r"((?:\.seg|\.[a-z]\w{0,7}(?=\.gz))?\.[a-z]\w{0,7})$", path.name.lower())
    return match[1] if match else "without an ending"
