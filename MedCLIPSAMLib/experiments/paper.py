"""The paper's four test sets in the authors' folder layout, its settings for each, and its published figures.

    DATA_DIR/breast_tumors/test_images/000001.png    test_masks/000001.png    (val_images/, val_masks/)
    DATA_DIR/brain_tumors/...  lung_xray/...  lung_ct/...
    PROMPTS/breast_tumors_testing.json               {"000001.png": "A sentence on this very image.", ...}

Source: MedCLIP-SAMv2, arXiv 2409.19483, and its repository HealthX-Lab/MedCLIP-SAMv2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..evaluation.pairs import pairs_of_folders
from ..files.json_text import read_json
from ..volumes.raster import FORMATS, ORIENTATION
from ..volumes.volume import stem

PER_IMAGE = "P3"


@dataclass(frozen=True)
class PaperTask:
    """One of the paper's test sets and how the authors ran it.

    Args:
        folder: its folder's name in the authors' layout; not published for the lungs, so chosen here.
        title: its name in tables.
        also: other accepted spellings of the folder's name.
        prompt_set: the set of shipped prompts; see `segmentation.prompts`.
        styles: the prompt styles to run; those of "P3" are sentences on each image that tell the diagnosis.
        best: the prompt style of the published figure.
        published_cases: size of the published test set.
        layer, beta: settings of M2IB; None if not published.
        objects: number of components to keep, the largest first.
        sam_prompts: "boxes", or "points" (10 random points).
    """

    folder: str
    title: str
    also: tuple[str, ...]
    prompt_set: str
    styles: tuple[str, ...]
    best: str
    published_cases: int
    layer: int | None = None
    beta: float | None = None
    objects: int = 1
    sam_prompts: str = "boxes"


TASKS = (
    PaperTask("breast_tumors", "US", ("breast_tumor", "breast_us"), "us_tumour", ("P2", "P3"), "P3", 113, 9, 1.0),
    PaperTask("brain_tumors", "MRI", ("brain_tumor", "brain_mri"), "mri_tumour", ("P2", "P3"), "P3", 600, 9, 2.0),
    PaperTask(
        "lung_xray",
        "X-ray",
        ("lungs_xray", "lung_xrays", "chest_xray", "covid_qu_ex"),
        "xray_lungs",
        ("P0", "P2"),
        "P0",
        957,
        objects=2,
        sam_prompts="points",
    ),
    PaperTask("lung_ct", "CT", ("lungs_ct", "chest_ct"), "ct_lungs", ("P2",), "P2", 1800, objects=2),
)
SEARCHED_LAYERS, SEARCHED_BETAS, SEARCHED_IMAGES = (7, 8, 9), (0.1, 1.0, 2.0), 3
"""The authors' search grid where no setting is published, and its number of validation images.

Their `var` is left out, as it has no effect.
"""
SCRIPT_LAYER, SCRIPT_BETA, SEED = 7, 0.1, 12
"""Defaults of the authors' script, and the seed in their published commands."""

PUBLISHED: dict[str, tuple[tuple[float, float], ...]] = {
    "SaLIP": ((44.33, 48.62), (47.96, 50.24), (63.14, 66.44), (76.32, 78.46), (57.94, 60.94)),
    "MedCLIP-SAM": ((67.82, 69.12), (66.72, 68.01), (64.49, 65.89), (59.14, 60.47), (64.54, 66.10)),
    "MedCLIP-SAMv2, zero-shot": ((77.76, 81.11), (76.52, 82.23), (75.79, 80.88), (80.38, 82.03), (77.61, 81.56)),
    "nnU-Net on pseudo-labels": ((73.77, 79.71), (77.16, 85.21), (70.15, 74.10), (82.24, 85.65), (75.83, 81.17)),
    "MedCLIP-SAMv2, weak": ((78.87, 84.58), (80.03, 88.25), (80.77, 84.53), (88.78, 91.95), (82.11, 87.33)),
    "nnU-Net, full supervision": ((82.47, 88.32), (87.74, 95.10), (98.72, 99.51), (97.10, 99.18)),
}
"""Row -> (DSC, NSD as published) in percent for US, MRI, X-ray, CT and, if published, the mean of all four."""


@dataclass(frozen=True)
class TestSet:
    """Image and mask files of a task by case, the file name without suffix; both have the same cases in order."""

    __test__ = False
    task: PaperTask
    folder: Path
    images: dict[str, Path]
    masks: dict[str, Path]


def find_test_sets(data_dir: Path, titles: Iterable[str] = ()) -> list[TestSet]:
    """Find the test sets in a folder and check that each image has its mask, of the same size.

    Args:
        titles: the requested tasks, such as "US"; all existing ones when empty.

    Raises:
        InputError: the folder does not exist, holds no task or not a requested one, or has two folders for one task;
            an image has no mask or vice versa; or their sizes differ.
    """
    if not data_dir.is_dir():
        raise InputError(f"There is no folder '{data_dir}'.", "Check the path.")
    wanted = {title.strip().lower() for title in titles}
    unknown = wanted - {task.title.lower() for task in TASKS}
    if unknown:
        titles_known = ", ".join(task.title for task in TASKS)
        raise InputError(f"Expected tasks among {titles_known}, got '{min(unknown)}'.", "Choose from these.")
    found = []
    for task in TASKS:
        if wanted and task.title.lower() not in wanted:
            continue
        known = {_plain(name) for name in (task.folder, *task.also)}
        folders = [path for path in sorted(data_dir.iterdir()) if path.is_dir() and _plain(path.name) in known]
        if len(folders) > 1:
            raise InputError(
                f"'{folders[0].name}' and '{folders[1].name}' in '{data_dir}' are both {task.title}.", "Keep only one."
            )
        if folders:
            found.append(_test_set(task, folders[0]))
        elif wanted:
            raise InputError(f"'{data_dir}' has no folder '{task.folder}'.", "See docs/weak.md for the folders.")
    if not found:
        names = ", ".join(task.folder for task in TASKS)
        raise InputError(f"'{data_dir}' holds none of the paper's test sets.", f"Expected folders are: {names}.")
    return found


def read_prompts(path: Path, tests: TestSet) -> dict[str, str]:
    """Read the sentence for each case from a JSON file {file name: sentence}, the authors' format.

    Raises:
        InputError: the file cannot be read or has another format, or an image has no sentence.
    """
    try:
        texts = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The prompts '{path}' cannot be read: {error}.", "Get the file again.") from error
    valid = isinstance(texts, dict) and all(isinstance(text, str) and text.strip() for text in texts.values())
    if not valid:
        raise InputError(f"The prompts '{path}' have another format.", 'Expected {"000001.png": "A sentence.", ...}.')
    by_case = {stem(Path(name)): text for name, text in texts.items()}
    lacking = [path.name for case, path in tests.images.items() if case not in by_case]
    if lacking:
        raise InputError(
            f"'{path}' has no prompt for {len(lacking)} of {len(tests.images)} images, such as '{lacking[0]}'.",
            "Add them: leaving out images would change the mean.",
        )
    return {case: by_case[case] for case in tests.images}


def read_mask(path: Path) -> np.ndarray:
    """Read a mask as the authors do: all pixels that are not black, (H, W) bool.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return np.asarray(image.convert("L")) > 0
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The mask '{path}' cannot be read: {error}.", "Get the file again.") from error


def find_validation_set(tests: TestSet) -> TestSet | None:
    """Find the validation images beside a test set; None if there are none."""
    both = [tests.folder / f"val_{kind}" for kind in ("images", "masks")]
    return _pairs(tests.task, tests.folder, *both) if all(folder.is_dir() for folder in both) else None


def _test_set(task: PaperTask, folder: Path) -> TestSet:
    both = [folder / f"test_{kind}" for kind in ("images", "masks")]
    for part in both:
        if not part.is_dir():
            raise InputError(
                f"'{folder}' has no folder '{part.name}'.", "Add it: the authors' layout has images and masks."
            )
    return _pairs(task, folder, *both)


def _pairs(task: PaperTask, folder: Path, image_dir: Path, mask_dir: Path) -> TestSet:
    pairs = pairs_of_folders(image_dir, mask_dir)
    files = [(image, mask) for image, mask in pairs.cases.values() if image]
    without_image = [str(mask) for image, mask in pairs.cases.values() if image is None]
    for alone, what, lacking in ((pairs.extra, "image", "mask"), (without_image, "mask", "image")):
        if alone:
            raise InputError(
                f"{len(alone)} of the {what}s in '{folder}' have no {lacking} of the same name, such as '{alone[0]}'.",
                "Images and masks are paired by file name.",
            )
    for path, mask in files:
        image_size, mask_size = _size(path), _size(mask)
        if image_size and mask_size and image_size != mask_size:
            raise InputError(
                f"'{path}' has {image_size[0]} x {image_size[1]} pixels and its mask {mask_size[0]} x {mask_size[1]}.",
                "Get the files again, or resize the mask to the size of the image.",
            )
    return TestSet(
        task, folder, {stem(image): image for image, _ in files}, {stem(image): mask for image, mask in files}
    )


def _size(path: Path) -> tuple[int, int] | None:
    """Read the width and height from the header; None if it cannot be read, which counts as a failure later.

    Raises:
        InputError: the file has an EXIF orientation; turning it upright would misalign image and mask.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.getexif().get(ORIENTATION, 1) != 1:
                raise InputError(f"'{path}' is rotated by its EXIF orientation.", "Save it and its mask upright.")
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
