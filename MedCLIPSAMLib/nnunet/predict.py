"""Predict the masks and uncertainty of many images with an ensemble, and rank them for review.

OUT/CASE.seg.nrrd              the masks, with the names of the labels
OUT/CASE_uncertainty.nii.gz    the entropy of the mean probabilities, float32, 0 to 1, on the image's grid
OUT/manifest.jsonl             one line per case: uncertainty, sizes, files, or why it failed
OUT/review.csv                 the cases, the least certain first
OUT/report.html                overlays for review
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import DeviceError, MedCLIPSAMError, attempt
from ..export.case_key import CaseKey
from ..export.cases import Case, check_names, find_cases
from ..export.export import plan_cases
from ..export.image_names import ImageNames
from ..export.job import new_record
from ..export.known import Sources, describing
from ..export.manifest import Manifest
from ..export.report import describe_size, write_overlay, write_report
from ..files.csv_text import write_rows
from ..files.relative import relative_path
from ..models.acceleration.memory import is_out_of_memory
from ..run_context import RunContext
from ..volumes import Segment, SliceStack, Volume, read_volume, write_saliency, write_segmentation
from .ensemble import Ensemble, Prediction
from .ranking import mask_file, rank_records, uncertainty_file
from .raw_dataset import read_dataset
from .uncertainty import entropy, expected_loss

REVIEW = "review.csv"


def find_images(inputs: Path, notify: Callable[[str], None] = lambda note: None) -> tuple[list[Case], Path | None]:
    """Find the images in a folder tree or an nnU-Net dataset, or a single image.

    Args:
        inputs: the folder, dataset or image.
        notify: called with notes about files in a folder that are left out.

    Returns:
        The images as cases, and the folder of the dataset if `inputs` is one.

    Raises:
        InputError: there is nothing readable.
    """
    if (inputs / "dataset.json").is_file():
        dataset = read_dataset(inputs)
        return [Case(case, dataset.image(case), {}, root=dataset.folder) for case in dataset.cases], dataset.folder
    found = find_cases(inputs, {"label": "label"}, notify=notify)
    return [replace(case, name=case.name.removesuffix("_0000"), prompts={}) for case in found], None


def predict(
    images: Sequence[Case],
    ensemble: Ensemble,
    out: Path,
    dataset: Path | None = None,
    context: RunContext = RunContext(),
    key: CaseKey | None = None,
) -> list[dict]:
    """Predict every image that is not in the output folder yet, has changed, or failed before.

    Args:
        images: the images; their prompts are ignored.
        ensemble: the model.
        out: output folder; it must be new, empty, or of the same model.
        dataset: the dataset that the images belong to, into which corrections of their masks go.
        context: receives the finished images.
        key: if given, cases are named by its numbers, and nothing else in `out` identifies their images.

    Returns:
        The records of the manifest, the least certain case first and failed cases last.

    Raises:
        InputError: two images have the same name, or `out` has an image from another place under the name of one.
        OutputError: see `Manifest`; or the disk is full.
        DeviceError: memory ran out.
        Cancelled: the context was cancelled; finished cases are kept.
    """
    if key is not None:
        key.check_outside(out)
        numbers = key.number([(image.image, image.series) for image in images])
        images = [replace(image, name=number) for image, number in zip(images, numbers)]
    check_names(images)
    request = {"model": ensemble.name, "labels": list(ensemble.labels.values()), "version": __version__}
    target = relative_path(dataset.resolve(), out.resolve()).as_posix() if dataset else None
    manifest = Manifest(out, request | {"dataset": target} | ({"anonymous": True} if key else {}))
    try:
        names = ImageNames(out, key is not None)
        images, todo = plan_cases(images, out, manifest.records, names, retry=True)
        write = describing(todo, out, dict(manifest.records), names, manifest.write)
        started = time.monotonic()
        for finished, image in enumerate(todo, 1):
            record = _predict_case(image, ensemble, out, context)
            write(record)
            left = (len(todo) - finished) * (time.monotonic() - started) / finished
            done = len(images) - len(todo) + finished
            context.report(done, len(images), image.name, seconds_left=left, status=record["status"])
    finally:
        try:
            _refresh(out)
        finally:
            manifest.close()
    return rank_records(out)


def _predict_case(case: Case, ensemble: Ensemble, out: Path, context: RunContext) -> dict[str, Any]:
    """Predict an image, write its files, and return its record for the manifest."""
    record = new_record(case) | {"source": Sources().describe(case.image)}
    started = time.perf_counter()

    def work() -> dict[str, Any]:
        volume = read_volume(case.image, **case.choice())
        try:
            prediction = ensemble.predict(volume, context)
        except RuntimeError as error:
            if str(ensemble.device) == "cpu" or not is_out_of_memory(error):
                raise
            raise DeviceError(
                f"The memory of {ensemble.device} is too small for '{case.name}'.", "Continue with --device cpu."
            ) from error
        return _write_case(case.name, volume, prediction, ensemble.labels, out)

    outcome = attempt(work, case.name, f"'{case.image}' cannot be predicted")
    if isinstance(outcome, DeviceError):
        raise outcome
    if isinstance(outcome, MedCLIPSAMError):
        outcome = {"problem": outcome.problem, "remedy": outcome.remedy}
    return record | outcome | {"seconds": round(time.perf_counter() - started, 3)}


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
    stack = SliceStack(volume)
    worst = max(range(len(stack)), key=lambda k: float(stack.from_grid(uncertain, k).sum()))
    masks = {segment.name: segment.mask for segment in segments}
    return {
        "status": "found" if taken.any() else "empty",
        "uncertainty": round(expected_loss(made.probabilities, taken), 5),
        "labels": about,
        "files": files,
        "slice": write_overlay(out, case, stack, masks, worst),
    }


def _refresh(out: Path) -> None:
    records = rank_records(out)
    rows = [
        (rank, record["case"], record.get("uncertainty", ""), record["status"], record["image"])
        for rank, record in enumerate(records, 1)
    ]
    write_rows(out / REVIEW, [("rank", "case", "uncertainty", "status", "image"), *rows])
    write_report(out, records, set())
