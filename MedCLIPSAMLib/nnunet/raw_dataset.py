"""Check that a folder is a raw nnU-Net v2 dataset that can be used for training, before hours are spent on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..counted import counted
from ..errors import InputError
from ..export.dataset import DATASET
from ..files.json_text import read_json
from ..files.regular import check_file
from ..volumes.itk_read import itk_path

IGNORE = "ignore"
"""Name of the label for voxels that nnU-Net's training ignores."""


@dataclass(frozen=True)
class RawDataset:
    """A raw dataset of nnU-Net.

    Args:
        folder: the folder DatasetNNN_Name.
        number: the dataset's number, NNN.
        cases: names of the cases, sorted.
        labels: names of the labels by number, without the background and the ignore label.
        ending: suffix of the files.
        ignored: value of the ignore label, if there is one.
    """

    folder: Path
    number: int
    cases: tuple[str, ...]
    labels: dict[int, str]
    ending: str
    ignored: int | None = None

    def image(self, case: str) -> Path:
        """Return the path of a case's image."""
        return self.folder / "imagesTr" / f"{case}_0000{self.ending}"

    def label(self, case: str) -> Path:
        """Return the path of a case's labels."""
        return self.folder / "labelsTr" / f"{case}{self.ending}"


def read_dataset(folder: Path) -> RawDataset:
    """Read the description of a dataset, and check the names of its files.

    Raises:
        InputError: the folder is not an nnU-Net dataset, has more than one channel, regions, or no cases, or its images
            and labels have different names.
    """
    if not os.path.isdir(folder):
        raise InputError(f"There is no folder '{folder}'.", "Give the folder of a dataset.")
    folder = folder.resolve()
    named = DATASET.fullmatch(folder.name)
    if not named:
        raise InputError(
            f"'{folder}' is not a dataset of nnU-Net.", "It must have a name such as Dataset101_BrainTumor."
        )
    check_file(folder / "dataset.json", "Write the dataset by medclipsam export, or as nnU-Net v2 describes it.")
    try:
        about = read_json(folder / "dataset.json")
        regions = [name for name, value in about["labels"].items() if isinstance(value, list)]
        labels = {} if regions else read_labels(about)
        ignored = about["labels"].get(IGNORE)
        ending, channels = str(about["file_ending"]), len(about["channel_names"])
        if not re.fullmatch(r"(\.[A-Za-z0-9]+){1,3}", ending):
            raise ValueError(f"'{ending}' is not a suffix of a file")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"'{folder / 'dataset.json'}' cannot be used: {type(error).__name__}: {error}.",
            "Write the dataset by medclipsam export, or as nnU-Net v2 describes it.",
        ) from error
    if regions:
        raise InputError(
            f"'{folder}' has regions, which are labels with several values, such as '{regions[0]}'.",
            "Give each label one value.",
        )
    if channels != 1:
        raise InputError(f"'{folder}' has {channels} channels.", "Training needs images with one channel.")
    if not labels:
        raise InputError(
            f"'{folder / 'dataset.json'}' has no label but the background.", "Add the labels that are segmented."
        )
    images = _names(folder / "imagesTr", f"_0000{ending}")
    masks = _names(folder / "labelsTr", ending)
    for lacking, what in ((images - masks, "label"), (masks - images, "image")):
        if lacking:
            raise InputError(
                f"{counted(len(lacking), 'case')} of '{folder}' with no {what}, such as '{sorted(lacking)[0]}'.",
                "Give images and labels the same names: imagesTr/CASE_0000 and labelsTr/CASE.",
            )
    if not images:
        raise InputError(f"'{folder}' holds no cases ending in {ending}.", "Export some first.")
    return RawDataset(folder, int(named[1]), tuple(sorted(images)), labels, ending, ignored)


def read_labels(about: Mapping[str, Any]) -> dict[int, str]:
    """Return the names of the labels by number, without the background and the ignore label.

    Args:
        about: the contents of dataset.json.
    """
    return {int(number): str(name) for name, number in about["labels"].items() if int(number) and name != IGNORE}


def check_voxels(dataset: RawDataset) -> None:
    """Check the voxels of every label file and the size of every image.

    Raises:
        InputError: an image and its label differ in size, a value is not a label, a file cannot be read, all labels are
            empty, or the numbers of the labels are not consecutive.
    """
    ignored = [] if dataset.ignored is None else [dataset.ignored]
    numbers = sorted({0, *dataset.labels, *ignored})
    if numbers != list(range(len(numbers))):
        raise InputError(
            f"Expected labels 0, 1, 2 and so on in '{dataset.folder}', got {', '.join(map(str, numbers))}.",
            "nnU-Net needs consecutive numbers: renumber the labels in dataset.json and in the masks.",
        )
    anything = False
    for case in dataset.cases:
        image, label = dataset.image(case), dataset.label(case)
        try:
            mask = sitk.ReadImage(itk_path(label))
            header = sitk.ImageFileReader()
            header.SetFileName(itk_path(image))
            header.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(
                f"The case '{case}' of '{dataset.folder}' cannot be read: {str(error).strip().splitlines()[-1]}",
                "Remove it from the dataset, or write it again.",
            ) from error
        if tuple(header.GetSize()) != tuple(mask.GetSize()):
            raise InputError(
                f"The case '{case}' has an image of {header.GetSize()} and a label of {mask.GetSize()} voxels.",
                "Write both on the same grid.",
            )
        values = set(np.unique(sitk.GetArrayViewFromImage(mask)).tolist()) - {0, dataset.ignored}
        strange = values - dataset.labels.keys()
        if strange:
            raise InputError(
                f"The label of '{case}' holds the value {min(strange)}, which dataset.json does not name.",
                f"Its labels are {', '.join(f'{n} ({name})' for n, name in dataset.labels.items())}.",
            )
        anything = anything or bool(values)
    if not anything:
        raise InputError(
            f"All labels of '{dataset.folder}' are empty, so nothing can be learned from them.",
            "Use a dataset with labels.",
        )


def _names(folder: Path, ending: str) -> set[str]:
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'.", "A dataset of nnU-Net has imagesTr and labelsTr.")
    files = [path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    return {name[: -len(ending)] for name in files if name.endswith(ending)}
