"""Write a corrected mask back into a dataset as a trusted label for the next round of training.

The previous label, which the models predicted, is kept in replaced/. The manifest records that a person set the new
label. If the case was struck out, it is restored.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..choices import Plane
from ..errors import InputError, OutputError
from ..evaluation.masks import Masks, place_on_image, read_masks
from ..export.cases import check_case
from ..export.dataset import by_pixel, segments_of, write_case
from ..export.image_names import ImageNames
from ..export.manifest import REQUEST, Manifest, read_records
from ..export.report import PIXELS, describe_size, write_overlay
from ..export.strike import FOLDER as STRUCK_FOLDER
from ..export.strike import similar_cases
from ..export.upkeep import read_struck, refresh, write_struck
from ..files.atomic import atomic_path, move
from ..files.json_text import read_json
from ..volumes import SliceStack, Volume, read_volume
from ..volumes.write import write_segmentation
from .raw_dataset import RawDataset, read_dataset

REPLACED = "replaced"


def trust(dataset: Path, case: str, masks: Mapping[str, np.ndarray], volume: Volume) -> int:
    """Write masks as the trusted label of a case, which is added to the dataset if it is not part of it.

    Args:
        dataset: folder DatasetNNN_Name that `medclipsam export` wrote.
        case: name of a case in the dataset, or of a new case.
        masks: (K, J, I) bool on the grid of `volume`, by the names of the dataset's labels. A label without a mask is
            taken as absent from the image.
        volume: the image; the dataset's own image if it has the case.

    Returns:
        The number of trusted cases in the dataset.

    Raises:
        InputError: the dataset is not from an export, a label is unknown, masks overlap, or their grid differs from
            that of the dataset's image.
        OutputError: an export is writing to the dataset, or it cannot be written; the previous label is kept.
    """
    check_case(case)
    found = read_dataset(dataset)
    labels = [found.labels[number] for number in sorted(found.labels)]
    unknown = sorted(masks.keys() - set(labels))
    if unknown:
        raise InputError(
            f"'{found.folder.name}' has no label '{unknown[0]}'.", f"Name the segments {', '.join(labels)}."
        )
    if np.max(sum(mask.astype(np.uint8) for mask in masks.values()), initial=0) > 1:
        raise InputError(
            f"The masks of '{case}' overlap.", "A voxel has only one label; erase the others where they overlap."
        )
    try:
        request = read_json(found.folder / REQUEST)
        if request["export"]["form"] != "nnunet":
            raise ValueError("it has another format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{found.folder}' was not written by medclipsam export.",
            "Give the folder of an export in nnU-Net's format.",
        ) from error
    volume = by_pixel(volume)
    with closing(Manifest(found.folder, request)) as manifest:
        other = next((name for name in manifest.records if name.lower() == case.lower()), None)
        if other is not None and case not in manifest.records:
            raise InputError(
                f"The name '{case}' differs from the dataset's case '{other}' only in upper and lower case.",
                "Give the name of that case, or another name.",
            )
        before = manifest.records.get(case, {})
        segments = segments_of(labels, dict(masks) or {labels[0]: np.zeros(volume.shape, bool)}, {})
        _same_grid(found, case, volume)
        _take_back(found, case)
        drawn = {segment.name: segment.mask for segment in segments}
        about: dict[str, Any] = {"slice": write_overlay(found.folder, case, _slices(volume, request["export"]), drawn)}
        about["labels"] = {name: _by_hand(name, mask, volume, before) for name, mask in drawn.items()}
        if found.image(case).is_file():
            _keep_before(found, case)
            write_segmentation(found.label(case), segments, volume)
            about["files"] = [f"imagesTr/{found.image(case).name}", f"labelsTr/{found.label(case).name}"]
        else:
            about["files"] = write_case(found.folder, case, "nnunet", volume, segments)
        about["status"] = "found" if any(mask.any() for mask in drawn.values()) else "empty"
        about["trusted"] = datetime.now(UTC).isoformat(timespec="seconds")
        of_guess = ("problem", "remedy", "notes")  # about the predicted label, or why there was none
        kept = {name: value for name, value in before.items() if name not in of_guess}
        image = {} if "image" in before else _describe(found.folder, case, volume, request)
        manifest.write({"case": case, "seconds": {}, "modality": volume.modality} | image | kept | about)
        struck = read_struck(found.folder)
        if case in struck:
            write_struck(found.folder, struck - {case})
        refresh(found.folder, "nnunet", labels)
        return sum("trusted" in record for record in manifest.records.values())


def _slices(volume: Volume, settings: Mapping[str, Any]) -> SliceStack:
    """Return the slices that the export segmented, for its overlay."""
    window = settings.get("window")
    flat = replace(volume, natural=volume.natural or volume.shape[0] == 1)
    return SliceStack(flat, settings.get("plane", Plane.AXIAL), tuple(window) if isinstance(window, list) else window)


def _by_hand(label: str, mask: np.ndarray, volume: Volume, before: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a label whose mask a person set, and which has no score and no expected DSC."""
    known = before.get("labels", {})
    prompt = known.get(label, {}).get("prompt")
    if any(other["unit"] == PIXELS for other in known.values()):  # the dataset's copy of an image is a volume
        volume = replace(volume, natural=True)
    about = {"prompt": prompt} if prompt else {}
    about |= {"score": None, "expected_dsc": None, "status": "found" if mask.any() else "empty"}
    return about | describe_size(mask, volume) | {"message": "The mask was given by hand."}


def trust_file(dataset: Path, case: str, mask: Path, image: Path | None = None, notes: list[str] | None = None) -> int:
    """Trust a mask from a file; see `trust`.

    Segments are assigned to labels by name, label maps by value. If the dataset has only one label, a single segment is
    assigned to it whatever its name. The image of a case that was struck out is found among the struck-out files.

    Args:
        dataset: folder DatasetNNN_Name that `medclipsam export` wrote.
        case: name of a case in the dataset, or of a new case.
        mask: file of the mask.
        image: file of the image, which only a new case needs.
        notes: list to which notes on how the mask was read are added.

    Returns:
        The number of trusted cases in the dataset.

    Raises:
        InputError: see `trust`. Also: the mask is on another grid than the image, see
            `evaluation.masks.place_on_image`, or the dataset lacks the case and no image is given.
        OutputError: see `trust`.
    """
    found = read_dataset(dataset)
    check_case(case)
    own = _find_image(found, case) or image
    if own is None:
        meant = similar_cases(case, found.cases)
        remedy = "A new case needs its image too, by --image."
        raise InputError(f"'{found.folder.name}' has no case '{case}'.", f"{meant} {remedy}".strip())
    volume = read_volume(own)
    read = read_masks(mask, volume.geometry)
    if notes is not None:
        notes += read.notes
    masks = place_on_image(case, _masks_by_label(read, found), own, volume)
    return trust(dataset, case, masks, volume)


def _describe(dataset: Path, case: str, volume: Volume, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the manifest that identify the image of a new case."""
    if volume.path is None:
        return {"image": ""}
    names = ImageNames(dataset, "anonymous" in request)
    described = names.describe(case, volume.path, volume.path.parent)
    names.store()
    return described


def trusted_cases(dataset: Path) -> set[str]:
    """Return the names of the cases whose label a person set."""
    return {name for name, record in read_records(dataset).items() if "trusted" in record}


def _masks_by_label(read: Masks, dataset: RawDataset) -> Masks:
    """Assign masks to labels, by name for segments and by value for a label map.

    White in a black-and-white image means the dataset's only label; if there are several, it is ambiguous and refused.
    """
    voxels = sitk.GetArrayViewFromImage(read.grid)
    if read.is_raster and len(dataset.labels) > 1 and voxels.max() > max(dataset.labels) and [*read.masks] == ["1"]:
        raise InputError(
            f"'{read.path}' is black and white, and does not tell which of the labels "
            f"{', '.join(f'{n} ({name})' for n, name in dataset.labels.items())} its mask shows.",
            "Save the number of the label instead of white, or a segmentation with its name.",
        )
    if read.segments:
        known, given = {name: name for name in dataset.labels.values()}, [segment.name for segment in read.segments]
        masks = {segment.name: segment.mask for segment in read.segments}
        if len(given) == len(known) == 1:
            known = dict(zip(given, known))
    else:
        known, masks, given = {f"{value}": name for value, name in dataset.labels.items()}, read.masks, [*read.masks]
    if len(masks) != len(given) or not masks.keys() <= known.keys():
        raise InputError(
            f"'{read.path}' has the segments {', '.join(given)}.",
            "Each must be one of the dataset's labels: "
            f"{', '.join(f'{n} ({name})' for n, name in dataset.labels.items())}.",
        )
    return replace(read, masks={known[name]: mask for name, mask in masks.items()})


def _find_image(dataset: RawDataset, case: str) -> Path | None:
    """Find the image of a case in the dataset or among the struck-out files; a new case has none."""
    places = (dataset.image(case), _outside(dataset, dataset.image(case)))
    return next((path for path in places if path.is_file()), None)


def _same_grid(dataset: RawDataset, case: str, volume: Volume) -> None:
    """Raise InputError if a volume is not on the grid of the case's image."""
    image = _find_image(dataset, case)
    own = volume if image is None else read_volume(image)
    if own.shape != volume.shape or not own.geometry.is_close(volume.geometry, 1e-3):
        raise InputError(
            f"Expected the mask of '{case}' on the grid of its image, got another grid.", "Draw it on that image."
        )


def _take_back(dataset: RawDataset, case: str) -> None:
    """Move the files of a struck-out case back into the dataset."""
    for path in (dataset.image(case), dataset.label(case)):
        outside = _outside(dataset, path)
        if outside.is_file() and not path.exists():
            move(outside, path)


def _outside(dataset: RawDataset, path: Path) -> Path:
    """Return the path that a file of the dataset has when its case is struck out."""
    return dataset.folder / STRUCK_FOLDER / path.relative_to(dataset.folder)


def _keep_before(dataset: RawDataset, case: str) -> None:
    """Keep a copy of the label that is replaced for the first time; later labels are a person's and need no copy."""
    label, original = dataset.label(case), dataset.folder / REPLACED / dataset.label(case).name
    if label.is_file() and not original.exists():
        try:
            original.parent.mkdir(exist_ok=True)
            with atomic_path(original) as temporary:
                temporary.write_bytes(label.read_bytes())
        except OSError as error:
            raise OutputError(
                f"'{original}' cannot be written: {error.strerror}.",
                "Make room on the disk, or make its folder writable.",
            ) from error
