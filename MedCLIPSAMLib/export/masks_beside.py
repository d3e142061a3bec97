"""Find the image files of a folder tree that are not images to segment: masks, overlays and maps beside them.

A file counts as a mask by its origin or name if
- this program wrote it as a result, or 3D Slicer as a segmentation;
- its name is that of an image beside it plus a word such as "_mask", or has such a word in place of another, or is
  that word alone, beside an image;
- it lies in a folder such as "lung masks" and has the name of an image elsewhere, or it is a volume in a folder such
  as "masks" inside the folder of an image;
- BIDS says so: it has the suffix of a mask, or is of a subject below "derivatives" while images are elsewhere.

A file that holds only a few values counts as a mask if, moreover,
- it lies in a folder that may hold masks, or its BIDS name ends in "mask" or "roi";
- its name contains such a word, beside an image of any name;
- it is a picture with the name of an image beside it, or with a longer name that begins with it;
- it is a volume beside DICOM, or a small one compared with a volume beside it or of the same name.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from ..errors import MedCLIPSAMError
from ..volumes.mark import is_marked
from ..volumes.nrrd import read_fields, read_header
from ..volumes.read import read_volume
from ..volumes.suffixes import RASTER_SUFFIXES
from ..volumes.volume import stem

WORDS = (
    *("anno", "annotation", "annotations", "contour", "contours", "gt", "groundtruth", "ground-truth", "ground_truth"),
    *("truth", "truths", "label", "labels", "labelmap", "mask", "masks", "msk", "dseg", "probseg"),
    *("seg", "segm", "segmentation", "segmentations", "aseg", "pve", "synthseg", "totalseg"),
    *("overlay", "overlays", "pred", "preds", "prediction", "predictions", "saliency", "uncertainty"),
    *("thumbnail", "thumbnails"),
)
FOLDERS = {*WORDS, "annots", "labelstr", "labelsts"} - {"anno", "msk", "pve"}
"""Words in the names of folders of masks."""
OTHER_FOLDERS = {"instances", "manual", "structures"}
"""Words in the names of folders of masks or of images: the voxel values decide."""
TASKS = {"seg", "segmentation", "segmentations"}
"""Words that also occur in the names of data sets, whose folders hold folders of images."""
IMAGE_FOLDERS = {"image", "images", "img", "imgs", "scan", "scans", "volume", "volumes"}
FEW_VALUES = 4
SMALL = 0.1
"""Maximum file size of a volume that may be a mask, as a share of the largest one in its folder or of its name."""
SIGNS = " ._-"
_WORD = "|".join(map(re.escape, WORDS))
_ALONE = re.compile(rf"({_WORD})([ ._-]?\d+)?", re.IGNORECASE)
_AFTER = re.compile(rf"(.+?)[ ._-]({_WORD})([ ._-]?\d+)?", re.IGNORECASE)
_BEFORE = re.compile(rf"({_WORD})[ ._-](.+)", re.IGNORECASE)
_OF_IMAGES = re.compile(r"segmentation-label|master scene view.*|combined_labels|aparc[.+].*|wmparc|ribbon")
"""Names of label maps and scene pictures exported by 3D Slicer, and of label maps of AbdomenAtlas and FreeSurfer."""
_BIDS = re.compile(r"sub-[a-z0-9]+_(.+_)?([a-z0-9]+-)?(msk|dseg|probseg)")
"""Names of masks in BIDS and ISLES (lesion-msk), in lower case."""
_BIDS_WORD = re.compile(r"sub-[a-z0-9]+_(.+_)?(mask|roi)")
"""BIDS names with words that names of images may also have: the voxel values decide."""
_DERIVED = re.compile("(.+/)?derivatives/(.+/)?sub-.+")
SEGMENTS = "Segment0_ID"
"""Field in the header of every segmentation of 3D Slicer."""
BYTE = ("unsigned char", "uchar", "uint8", "uint8_t")


def masks_among(files: Sequence[Path], others: Sequence[Path] = ()) -> set[Path]:
    """Find the files that are not images to segment.

    Args:
        files: image files.
        others: images or masks of other kinds, as files or folders: DICOM, segmentations.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in (*files, *others):
        by_folder.setdefault(path.parent, []).append(stem(path).lower())
    beside = {folder: _Names(names) for folder, names in by_folder.items()}
    places = {path: path if path.is_dir() else path.parent for path in (*files, *others)}
    root = os.path.commonpath(places.values()) if places else ""
    inside = {folder: os.path.relpath(folder, root) for folder in by_folder}
    of_masks = {folder for folder in by_folder if _holds_masks(inside[folder], FOLDERS)}
    perhaps = {folder for folder in by_folder.keys() - of_masks if _holds_masks(inside[folder], OTHER_FOLDERS)}
    images = by_folder.keys() - of_masks
    is_derived = lambda path: bool(_DERIVED.fullmatch(Path(os.path.relpath(path, root)).as_posix()))
    derived = {path for path in files if is_derived(path)}
    originals = any(path.parent in images and path not in derived for path in (*files, *others))
    elsewhere = {_image_name(name) for folder in images for name in by_folder[folder]}
    series = [path for path in others if not path.name.lower().endswith(".seg.nrrd")]
    with_dicom = {places[path] for path in series}
    sizes = {path: path.stat().st_size for path in files if path.suffix.lower() not in RASTER_SUFFIXES}
    ordered = sorted(sizes.items(), key=lambda item: item[1])
    largest = {of: size for path, size in ordered for of in (path.parent, _image_name(stem(path).lower()))}
    above = {*others, *(top for folder in images for top in folder.parents)}  # folders above the images' folders

    def is_mask(path: Path) -> bool:
        name, folder = stem(path).lower(), path.parent
        if (originals and path in derived) or _BIDS.fullmatch(name):
            return True
        if beside[folder].have_image_of(name) or (folder in above and _ALONE.fullmatch(name)):
            return True
        if folder in of_masks and ({name, _without_word(name)} & elsewhere or (images and _ALONE.fullmatch(name))):
            return True
        is_below = folder in of_masks and folder.parent in images
        if is_below and folder.name.lower() in WORDS and path.suffix.lower() not in RASTER_SUFFIXES:
            return True
        if is_marked(path) or (path.suffix.lower() == ".nrrd" and _is_of_slicer(path)):
            return True
        of_another = _without_word(name) and beside[folder].have_image_of("mask")  # may belong to any image here
        is_small = path in sizes and (
            folder in with_dicom or sizes[path] <= SMALL * max(largest[folder], largest[_image_name(name)])
        )
        is_picture = path not in sizes and (
            beside[folder].count[name] > 1 or beside[folder].have_beginning_of(_image_name(name))
        )
        may_be = of_another or is_small or is_picture or folder in of_masks | perhaps or _BIDS_WORD.fullmatch(name)
        return bool(may_be) and _has_few_values(path)

    of_dicom = {path for path in series if _holds_masks(os.path.relpath(places[path], root), FOLDERS)}
    if len(of_dicom) == len(series) and not images.intersection(path.parent for path in files):
        of_dicom = set()
    found = {path for path in files if is_mask(path)}
    return found | {path for path in of_dicom if _has_few_values(path)}


class _Names:
    """The names in a folder."""

    def __init__(self, names: Sequence[str]) -> None:
        self.count = Counter(names)
        self._images = sorted(name for name in set(names) if _without_word(name) is None and not _ALONE.fullmatch(name))
        self._ends = {re.split(f"[{SIGNS}]", name, maxsplit=1)[-1] for name in self._images}

    def have_image_of(self, name: str) -> bool:
        """Tell whether a name is that of a mask of an image in this folder.

        "a_mask" and "mask_a" belong to "a", "a_0000" or "a_t1", "mask-1" to "volume-1", and "mask" to any image.
        """
        if _ALONE.fullmatch(name) or _OF_IMAGES.fullmatch(name):
            return bool(self._images)
        base = _without_word(name)
        if base is None:
            return False
        if self.count[base] or self.count[f"{base}_0000"] or (_BEFORE.fullmatch(name) and base in self._ends):
            return True
        beginnings = (self._images[at : at + 1] for at in (bisect_left(self._images, base + sign) for sign in SIGNS))
        return any(name and name[0].startswith(base + sign) for name, sign in zip(beginnings, SIGNS))

    def have_beginning_of(self, name: str) -> bool:
        """Tell whether there is another name that this one begins with, up to a separator, or one such as "image"."""
        beginnings = {name[: sign.start()] for sign in re.finditer(f"[{SIGNS}]", name)}
        return any(self.count[other] for other in (beginnings | IMAGE_FOLDERS) - {name})


def _without_word(name: str) -> str | None:
    """Return the image's name in a name such as "case1_mask"; None for other names."""
    match = _AFTER.fullmatch(name)
    if match:
        return match[1]
    match = _BEFORE.fullmatch(name)
    return match[2] if match else None


def _holds_masks(folder: str, of_masks: Set[str]) -> bool:
    """Tell whether a path such as "lung masks/train" or "leftMask" is that of a folder of masks.

    The last part that names masks or images decides.

    Args:
        of_masks: words that name masks.
    """
    for above, part in enumerate(reversed(Path(folder).parts)):
        words = set(re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", part).lower()))
        named = of_masks - TASKS if above and len(words) > 1 else of_masks
        if words & named or words == {"ground"}:  # "Ground" is used by CHAOS; "ground glass" is a finding
            return True
        if words & IMAGE_FOLDERS and not re.search("[0-9]", part):  # "scan1" may lie in a folder of masks
            return False
    return False


def _image_name(name: str) -> str:
    """Return a name without nnU-Net's channel number."""
    return name.removesuffix("_0000")


def _is_of_slicer(path: Path) -> bool:
    """Tell whether an NRRD file is a segmentation of 3D Slicer.

    Its type must be bytes, as a scan may have inherited the fields of a segmentation.
    """
    return is_marked(path, SEGMENTS) and read_fields(read_header(path)[0]).get("type") in BYTE


def _has_few_values(path: Path) -> bool:
    """Tell whether an image file or a DICOM folder holds only a few values, 0 among them, as masks do."""
    try:
        values = np.unique(read_volume(path).array)
    except MedCLIPSAMError:
        return False
    return values.size <= FEW_VALUES and 0 in values
