"""The files of a case: nnU-Net's raw dataset, or masks in a folder.

nnunet    imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz, dataset.json (nnU-Net v2)
seg.nrrd  CASE.seg.nrrd, with prompts, scores and models as tags
nii.gz    CASE.nii.gz, a label map; labels.json says which number is which label
png       CASE.png, a label map, for 2-D images
dcm       CASE.dcm, a DICOM Segmentation that refers to the series, for DICOM input

If several masks voted, uncertainty/CASE.nii.gz holds the largest uncertainty over all labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError
from ..files.atomic import atomic_path
from ..files.json_text import write_json
from ..volumes import Segment, Volume, write_saliency, write_segmentation
from ..volumes.segment import without_overlap
from ..volumes.slice_count import slice_count
from ..volumes.write import write_array
from .cases import Case
from .dicom_seg import write_dicom_seg

UNCERTAINTY = "uncertainty"
"""Folder of the uncertainty maps of votes."""
RESERVED = ("background", "ignore")
"""Labels with a special meaning in nnU-Net."""

DATASET = re.compile(r"Dataset([0-9]{3})_.+")
"""The dataset names that nnU-Net accepts: a number and any text."""


def check_folder(folder: Path, form: str) -> None:
    """Refuse a folder whose name nnU-Net would not accept.

    Raises:
        InputError: the format is nnU-Net's, and the name is not that of a dataset.
    """
    name = folder.absolute().name
    if form == "nnunet" and not DATASET.fullmatch(name):
        raise InputError(
            f"nnU-Net would not read a dataset in '{name}'.",
            "Name the folder such as Dataset101_BrainTumor, or choose another format.",
        )


def check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that have a special meaning in nnU-Net, cannot be stored in a file, or differ only in case.

    Raises:
        InputError: naming the label.
    """
    seen: dict[str, str] = {}
    for label in labels:
        if seen.setdefault(label.casefold(), label) != label:
            raise InputError(
                f"The labels '{seen[label.casefold()]}' and '{label}' differ only in case.",
                "Write the label of a structure in the same way everywhere.",
            )
        if label.strip().casefold() in RESERVED:
            raise InputError(f"'{label}' cannot be a label: nnU-Net reserves it.", "Give it another name.")
        if not label.strip() or not label.isprintable():
            raise InputError(f"{label!r} cannot be a label.", "Use letters, digits and other printable characters.")


def check_slices(form: str, cases: Sequence[Case], min_expected_dsc: float = 0.0) -> None:
    """Refuse volumes if the format or the minimum expected DSC needs 2-D images, before models are loaded.

    Only headers are read.

    Raises:
        InputError: an image has several slices; the first one is named.
    """
    for case in cases if form == "png" or min_expected_dsc else ():
        count = slice_count(case.image, case.series) or 1
        if count > 1 and min_expected_dsc:
            raise InputError(
                f"'{case.name}' has {count} slices, but a DSC can be predicted only for 2-D images.",
                "Leave out the minimum expected DSC (the minimum score works for every image), or the volumes.",
            )
        if count > 1:
            raise InputError(
                f"'{case.name}' has {count} slices, but a PNG holds one.", "Export as nii.gz, or leave out volumes."
            )


def case_files(name: str, form: str) -> list[str]:
    """Name the files of a case, relative to the dataset's folder."""
    if form == "nnunet":
        return [f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"]
    return [f"{name}.{form}"]


def is_label_map(form: str) -> bool:
    """Tell whether a format stores masks as label maps, in which a voxel has only one label."""
    return form not in ("seg.nrrd", "dcm")


def write_case(
    folder: Path,
    name: str,
    form: str,
    volume: Volume,
    segments: Sequence[Segment],
    uncertain: Sequence[np.ndarray | None] = (),
) -> list[str]:
    """Write a case, for nnU-Net with its image, and return the file names relative to `folder`, the masks' name last.

    The files appear only once all are complete; if writing fails, earlier files of the case stay as they were. Where
    segments overlap, a label map keeps the one with the higher score (tag MedCLIPSAM.Score).

    Args:
        uncertain: for each label the uncertainty of the vote, (K, J, I) float32, or None without a vote. The maximum
            over the labels is written.

    Raises:
        InputError: the image does not fit the format. OutputError: a file cannot be written.
    """
    *images, masks = case_files(name, form)
    voted = [values for values in uncertain if values is not None]
    files = [*images, *([f"{UNCERTAINTY}/{name}.nii.gz"] if voted else []), masks]
    if form == "png" and volume.shape[0] > 1:
        raise InputError(f"'{name}' has {volume.shape[0]} slices, but a PNG holds one.", "Export as nii.gz.")
    if is_label_map(form):
        segments, _ = without_overlap(segments)
    if form == "nnunet":
        volume = by_pixel(volume)
    try:
        with ExitStack() as complete:
            for file in files:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
            paths = {file: complete.enter_context(atomic_path(folder / file)) for file in files}
            for file in images:
                write_array(paths[file], gray(volume), volume)
            if voted:
                write_saliency(paths[files[-2]], np.max(voted, axis=0), volume)
            if form == "dcm":
                write_dicom_seg(paths[masks], segments, volume)
            else:
                write_segmentation(paths[masks], segments, volume)
    except (OSError, RuntimeError, OutputError) as error:
        cause = error.__cause__ or error  # the error itself names a temporary file
        reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
        problem = f"The case '{name}' cannot be written: {reason.rstrip('.')}."
        raise OutputError(problem, "Make room on the disk, or make its folder writable.") from error
    return files


def write_description(folder: Path, form: str, labels: Sequence[str], cases: Sequence[str], channel: str) -> None:
    """Write the names of the labels: into dataset.json for nnU-Net, into labels.json for other label maps.

    Args:
        cases: the cases that are in the dataset now.
        channel: kind of the images, such as "CT", for which nnU-Net normalizes intensities differently.
    """
    numbers = {"background": 0} | {label: number for number, label in enumerate(labels, 1)}
    if form == "nnunet":
        content: Mapping[str, object] = {
            "channel_names": {"0": channel},
            "labels": numbers,
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
            "description": "Pseudo-labels by MedCLIPSAM; see manifest.jsonl. For research, not for diagnosis.",
        }
        path = folder / "dataset.json"
    elif form in ("nii.gz", "png"):
        content, path = numbers, folder / "labels.json"
    else:
        return
    write_json(path, content)


def segments_of(labels: Sequence[str], masks: Mapping[str, np.ndarray], tags: Mapping[str, dict]) -> list[Segment]:
    """Make a segment for each label, in order, empty if a mask is absent, so that label n is number n in every case."""
    nothing = np.zeros_like(next(iter(masks.values())))
    return [Segment(label, masks.get(label, nothing), tags=tags.get(label, {})) for label in labels]


def by_pixel(volume: Volume) -> Volume:
    """Set the pixel size of an image without orientation to 1 mm if its file gives none but that on a print or screen.

    nnU-Net resamples images to a common pixel size, which would be meaningless for these.
    """
    if not volume.natural or volume.known_spacing:
        return volume
    return replace(volume, geometry=replace(volume.geometry, spacing=(1.0, 1.0, 1.0)))


def gray(volume: Volume) -> np.ndarray:
    """Average colors into one channel (K, J, I): nnU-Net needs the same channels in every image of a dataset."""
    return volume.array.mean(-1).astype(np.float32) if volume.is_rgb else volume.array
