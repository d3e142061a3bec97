"""Masks and uncertainty of many images by an ensemble, ranked for review.

OUT/CASE.seg.nrrd              the masks, with the names of the labels
OUT/CASE_uncertainty.nii.gz    the entropy of the mean probability, float32, 0 to 1, on the image's voxels
OUT/manifest.jsonl             a line a case: uncertainty, sizes, files, or why it failed
OUT/review.csv                 the cases, the least sure first
OUT/report.html                overlays to look through
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..errors import DeviceError, InputError, MedCLIPSAMError, attempt
from ..evaluation.overlays import overlay
from ..export.case_key import CaseKey
from ..export.cases import find_cases
from ..export.image_names import ImageNames
from ..export.manifest import Manifest
from ..export.report import IMAGE_FOLDER, describe_size, write_report
from ..files.atomic import atomic_path
from ..run_context import RunContext
from ..volumes import Segment, SliceStack, Volume, read_volume, write_saliency, write_segmentation
from ..volumes.terminology import color_for
from ..volumes.write import write_png
from .ensemble import Ensemble, Prediction
from .ranking import mask_file, rank_records, uncertainty_file
from .raw_dataset import read_dataset
from .uncertainty import entropy, expected_loss

REVIEW = "review.csv"


@dataclass(frozen=True)
class ImageFile:
    """One image to predict.

    Args:
        case: its name in the results.
        path: a file, or the folder of a DICOM series.
        series: of a folder with several.
        root: the folder that its path is relative to; None is its own.
    """

    case: str
    path: Path
    series: str | None = None
    root: Path | None = None

    @property
    def folder(self) -> Path:
        """Folder that the image's path is relative to."""
        return self.path.parent if self.root is None else self.root


def find_images(inputs: Path, notify: Callable[[str], None] = lambda note: None) -> tuple[list[ImageFile], Path | None]:
    """Find the images of a folder tree, an image, or those of a dataset of nnU-Net, which is returned too.

    Args:
        notify: is told which files of a folder are left out.

    Raises:
        InputError: nothing readable there.
    """
    if (inputs / "dataset.json").is_file():
        dataset = read_dataset(inputs)
        return [ImageFile(case, dataset.image(case), root=dataset.folder) for case in dataset.cases], dataset.folder
    found = find_cases(inputs, {"label": "label"}, notify=notify)
    return [ImageFile(case.name.removesuffix("_0000"), case.image, case.series, case.folder) for case in found], None


def predict(
    images: Sequence[ImageFile],
    ensemble: Ensemble,
    out: Path,
    dataset: Path | None = None,
    context: RunContext = RunContext(),
    key: CaseKey | None = None,
) -> list[dict]:
    """Predict every image that is not in the folder yet, or that failed before.

    Args:
        out: new, empty, or of the same model.
        dataset: the one that the images belong to, into which a correction of them goes.
        key: name the cases by its numbers, and let nothing else in `out` name their images.

    Returns:
        The records of the manifest, the least sure case first, failed ones at the end.

    Raises:
        InputError: two images of one name. OutputError: see `Manifest`, or the disk is full; DeviceError: out of
            memory; Cancelled: what was done is kept.
    """
    if key is not None:
        key.check_outside(out)
        numbers = key.number([(image.path, image.series) for image in images])
        images = [replace(image, case=number) for image, number in zip(images, numbers)]
    if len({image.case for image in images}) < len(images):
        raise InputError("Two images have the same name.", "Give each a different name.")
    request = {"model": ensemble.name, "labels": list(ensemble.labels.values()), "version": __version__}
    target = os.path.relpath(dataset.resolve(), out.resolve()) if dataset else None
    manifest = Manifest(out, request | {"dataset": target} | ({"anonymous": True} if key else {}))
    try:
        names = ImageNames(out, key is not None)
        known = {case for case, record in manifest.records.items() if record["status"] != "failed"}
        todo = [image for image in images if image.case not in known]
        started = time.monotonic()
        for finished, image in enumerate(todo, 1):
            record = names.scrub(_predict_case(image, ensemble, out, context), image.path, image.folder)
            record |= names.describe(image.case, image.path, image.folder, image.series)
            names.store()
            manifest.write(record)
            left = (len(todo) - finished) * (time.monotonic() - started) / finished
            done = len(images) - len(todo) + finished
            context.report(done, len(images), image.case, seconds_left=left, status=record["status"])
    finally:
        try:
            _refresh(out)
        finally:
            manifest.close()
    return rank_records(out)


def _predict_case(image: ImageFile, ensemble: Ensemble, out: Path, context: RunContext) -> dict[str, Any]:
    """Predict an image and write its files; return the line of the manifest without the fields that name the image."""
    record: dict[str, Any] = {"case": image.case, "status": "failed", "labels": {}, "files": []}
    record["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    started = time.perf_counter()

    def work() -> dict[str, Any]:
        volume = read_volume(image.path, image.series)
        try:
            prediction = ensemble.predict(volume, context)
        except torch.OutOfMemoryError as error:
            raise DeviceError(
                f"The memory of {ensemble.device} is too small for '{image.case}'.", "Go on with --device cpu."
            ) from error
        return _write_case(image.case, volume, prediction, ensemble.labels, out)

    outcome = attempt(work, image.case, f"'{image.path}' cannot be predicted")
    if isinstance(outcome, DeviceError):
        raise outcome
    if isinstance(outcome, MedCLIPSAMError):
        outcome = {"problem": outcome.problem, "remedy": outcome.remedy}
    record |= outcome
    record["seconds"] = round(time.perf_counter() - started, 3)
    return record


def _write_case(case: str, volume: Volume, made: Prediction, labels: dict[int, str], out: Path) -> dict:
    taken = made.labels > 0
    segments = [Segment(name, made.labels == number) for number, name in labels.items()]
    files = [mask_file(case), uncertainty_file(case)]
    uncertain = entropy(made.probabilities)
    write_segmentation(out / files[0], segments, volume)
    write_saliency(out / files[1], uncertain, volume)
    about = {
        segment.name: {
            "prompt": segment.name,
            "status": "found" if segment.mask.any() else "empty",
            "score": round(float(made.probabilities[number][segment.mask].mean()), 4) if segment.mask.any() else 0.0,
            **describe_size(segment.mask, volume),
        }
        for number, segment in zip(labels, segments)
    }
    return {
        "status": "found" if taken.any() else "empty",
        "uncertainty": round(expected_loss(made.probabilities, taken), 5),
        "labels": about,
        "files": files,
        "slice": _write_overlay(case, volume, segments, uncertain, out),
    }


def _write_overlay(case: str, volume: Volume, segments: Sequence[Segment], uncertain: np.ndarray, out: Path) -> int:
    """Write the slice with the most uncertainty, with the masks, for the report, and return its number."""
    stack = SliceStack(volume)
    worst = max(range(len(stack)), key=lambda k: float(stack.from_grid(uncertain, k).sum()))
    (out / IMAGE_FOLDER).mkdir(exist_ok=True)
    drawn = {segment.name: stack.from_grid(segment.mask, worst) for segment in segments}
    image = overlay(stack.image(worst), drawn, {name: color_for(name) for name in drawn})
    write_png(out / IMAGE_FOLDER / f"{case}.png", image, marked=True)
    return worst


def _refresh(out: Path) -> None:
    records = rank_records(out)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "case", "uncertainty", "status", "image"])
    for rank, record in enumerate(records, 1):
        writer.writerow([rank, record["case"], record.get("uncertainty", ""), record["status"], record["image"]])
    with atomic_path(out / REVIEW) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    write_report(out, records, set())
