"""Read, segment and write one case of an export, in the same way on this machine and on a cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..choices import ExportFormat, Plane, Strategy
from ..errors import InputError, MedCLIPSAMError, attempt
from ..pipeline.request import SegmentationRequest
from ..pipeline.segment_volume import segment_volume
from ..pipeline.volume_result import VolumeResult
from ..run_context import RunContext
from ..segmentation.result import PromptedResult
from ..segmentation.segmenter import TextSegmenter
from ..validated import Choice, Share, settings_class
from ..volumes import Segment, Volume, read_volume
from ..volumes.segment import SCORE, without_overlap
from ..volumes.window import Window, check_window
from .cases import Case
from .dataset import is_label_map, segments_of, write_case
from .dicom_seg import check_dicom_seg
from .known import Sources
from .report import describe_size, write_overlay


@settings_class
class ExportSettings:
    """Settings of an export.

    Args:
        form: the format written for each image.
        strategy: how volumes of several slices are segmented; see `choices.Strategy`.
        plane: plane of the slices.
        window: display window; see `volumes.SliceStack`.
        min_score: a label with a lower score, 0 to 1, counts as not found.
        min_expected_dsc: a label with a lower expected DSC, 0 to 1, counts as not found; only for images of one slice
            and models whose DSC can be predicted.
        min_ml, max_ml: a label with a smaller or larger volume, in ml, counts as not found; for 2-D images, which have
            no thickness, in thousands of pixels.
        keep_empty: also add cases in which nothing was found, with an empty mask, but not those whose findings were
            removed by the minimums and maximums.
    """

    form: Choice[ExportFormat] = ExportFormat.NNUNET
    strategy: Choice[Strategy] = Strategy.MEMORY
    plane: Choice[Plane] = Plane.AXIAL
    window: Window = None
    min_score: Share = 0.0
    min_expected_dsc: Share = 0.0
    min_ml: Annotated[float, Field(ge=0)] = 0.0
    max_ml: Annotated[float, Field(ge=0, allow_inf_nan=True)] = float("inf")
    keep_empty: bool = False

    def __post_init__(self) -> None:
        check_window(self.window)
        if self.min_ml > self.max_ml:
            raise InputError(
                f"Expected a minimum size up to the maximum, got {self.min_ml} and {self.max_ml} ml.", "Swap them."
            )


@dataclass(frozen=True)
class ExportJob:
    """What all cases of an export share: the dataset's folder, the settings, and the labels in order."""

    out: Path
    settings: ExportSettings
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LoadedCase:
    """An image, or why it cannot be read; a description of its files (see `known.Sources`); and the seconds it took."""

    volume: Volume | MedCLIPSAMError
    source: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class SegmentedCase:
    """An image, its result or why there is none, and the seconds it took."""

    loaded: LoadedCase
    result: VolumeResult | MedCLIPSAMError
    seconds: float


def read_case(case: Case) -> LoadedCase:
    """Read the image of a case.

    Its files are described before they are read, so that a change in between is detected by the next run.
    """
    started = time.perf_counter()
    source = Sources().describe(case.image)
    volume = attempt(lambda: read_volume(case.image, **case.choice()), case.name, f"'{case.image}' cannot be read")
    return LoadedCase(volume, source, time.perf_counter() - started)


def segment_case(
    segmenter: TextSegmenter, case: Case, loaded: LoadedCase, settings: ExportSettings, context: RunContext
) -> SegmentedCase:
    """Segment an image that `read_case` returned.

    Raises:
        Cancelled: the context was cancelled.
    """
    volume, started = loaded.volume, time.perf_counter()
    if isinstance(volume, MedCLIPSAMError):
        return SegmentedCase(loaded, volume, 0.0)
    work = lambda: _segment(segmenter, case, volume, settings, context)
    result = attempt(work, case.name, f"'{case.image}' cannot be segmented")
    return SegmentedCase(loaded, result, time.perf_counter() - started)


def _segment(
    segmenter: TextSegmenter, case: Case, volume: Volume, settings: ExportSettings, context: RunContext
) -> VolumeResult:
    if settings.form == ExportFormat.DICOM_SEG:
        check_dicom_seg(volume)
    prompts = tuple(dict.fromkeys(case.prompts.values()))
    request = SegmentationRequest(
        prompts, case.negative, settings.plane, "all", settings.strategy, window=settings.window
    )
    return segment_volume(segmenter, volume, request, context.without_progress()).collect()


def write_result(case: Case, outcome: SegmentedCase, job: ExportJob) -> dict[str, Any]:
    """Write the files of a case, and return its line of the manifest.

    Raises:
        OutputError: the system refuses to write, for example because the disk is full.
    """
    volume, result, started = outcome.loaded.volume, outcome.result, time.perf_counter()
    written: dict[str, Any] | MedCLIPSAMError
    if isinstance(volume, MedCLIPSAMError):
        written = volume
    elif isinstance(result, MedCLIPSAMError):
        written = result
    else:
        work = lambda: _write_files(case, volume, result, job)
        written = attempt(work, case.name, f"The masks of '{case.image}' cannot be written")
    if isinstance(written, MedCLIPSAMError):
        written = {"problem": written.problem, "remedy": written.remedy}
    seconds = {"load": outcome.loaded.seconds, "segment": outcome.seconds, "write": time.perf_counter() - started}
    record = new_record(case) | {"source": outcome.loaded.source} | written
    return record | {"seconds": {name: round(value, 3) for name, value in seconds.items()}}


def new_record(case: Case) -> dict[str, Any]:
    """Make the manifest line of a failed case; the caller adds the cause."""
    record = {"case": case.name, "image": str(case.image), "status": "failed", "labels": {}, "files": []}
    return record | {"seconds": {}, "time": datetime.now(UTC).isoformat(timespec="seconds")}


def _write_files(case: Case, volume: Volume, result: VolumeResult, job: ExportJob) -> dict[str, Any]:
    """Write the overlay of a case, then its masks and image, and return their manifest fields."""
    settings = job.settings
    labels, segments, lost = _judge(case, volume, result, job)
    masks, tags = ({label: getattr(one, name) for label, one in segments.items()} for name in ("mask", "tags"))
    states = [label["status"] for label in labels.values()]
    status = next((state for state in ("found", "filtered") if state in states), "empty")
    record: dict[str, Any] = {"labels": labels, "status": status, "modality": volume.modality}
    record["notes"] = [*volume.notes, *result.notes, *lost]
    record["slice"] = write_overlay(job.out, case.name, result.stack, masks)
    if status == "found" or (settings.keep_empty and status == "empty"):
        ordered = segments_of(job.labels, masks, tags)
        uncertain = [result.uncertainty(prompt) for prompt in case.prompts.values()]
        record["files"] = write_case(job.out, case.name, settings.form, volume, ordered, uncertain)
    return record


def _judge(
    case: Case, volume: Volume, result: VolumeResult, job: ExportJob
) -> tuple[dict[str, dict[str, Any]], dict[str, Segment], list[str]]:
    """Decide which labels count as found, by the voxels that each has in the written file.

    In a label map, where labels cannot overlap, voxels go to the label with the higher score.

    Returns:
        The manifest fields of each label; its segment, empty if not found; and notes on overlaps.
    """
    by_prompt = {segment.name: segment for segment in result.segments()}
    labels: dict[str, dict[str, Any]] = {label: {} for label in case.prompts}
    segments: dict[str, Segment] = {}
    notes: list[str] = []
    sureness = lambda label: -float(by_prompt[case.prompts[label]].tags[SCORE])
    for label in sorted(filter(case.prompts.__contains__, job.labels), key=sureness):
        prompt = case.prompts[label]
        segment = replace(by_prompt[prompt], name=label)
        about = _about(result, prompt, segment.mask, volume)
        if job.settings.min_expected_dsc and about["voxels"] and about["expected_dsc"] is None:
            raise InputError(
                "The DSC of this case cannot be predicted: that needs a single slice, no negative prompt, and models, "
                "settings and prompts for which a predictor was fitted.",
                "Leave out the minimum expected DSC; the minimum score works for every image.",
            )
        status = _status(about, job.settings)
        if about["voxels"] and is_label_map(job.settings.form) and _is_sure(about, job.settings):
            (*_, segment), lost = without_overlap([*segments.values(), segment])
            notes += lost
            about = _about(result, prompt, segment.mask, volume)
            status = _status(about, job.settings) if about["voxels"] else "filtered"
        labels[label] = about | {"status": status}
        segments[label] = segment if status == "found" else replace(segment, mask=np.zeros_like(segment.mask))
    return labels, {label: segments[label] for label in case.prompts}, notes


def _about(result: VolumeResult, prompt: str, mask: np.ndarray, volume: Volume) -> dict[str, Any]:
    by_slice = result.results[prompt]
    best = max(by_slice.values(), key=lambda result: (result.score, isinstance(result, PromptedResult)))
    looked = [result.where.presence.probability for result in by_slice.values() if isinstance(result, PromptedResult)]
    expected = best.expected_dsc if isinstance(best, PromptedResult) and len(result.stack) == 1 else None
    return {
        "prompt": prompt,
        "score": round(best.score, 4),
        "presence": round(max(looked), 4) if looked else None,
        "expected_dsc": None if expected is None else round(expected, 4),
        **describe_size(mask, volume),
        "message": best.text,
    }


def _status(about: Mapping, settings: ExportSettings) -> str:
    if not about["voxels"]:
        return "empty"
    fits = _is_sure(about, settings) and settings.min_ml <= about["size"] <= settings.max_ml
    return "found" if fits else "filtered"


def _is_sure(about: Mapping, settings: ExportSettings) -> bool:
    return about["score"] >= settings.min_score and (about["expected_dsc"] or 0) >= settings.min_expected_dsc
