"""What is done with one case of an export: read, segment, write. It is the same on this machine and on a cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ..errors import Cancelled, DeviceError, InputError, MedCLIPSAMError
from ..evaluation.pictures import overlay
from ..volumes import SliceStack, Volume, read_volume
from ..volumes.slices import check_plane
from ..volumes.terminology import colour_for
from ..volumes.window import check_window
from ..volumes.write import write_picture
from ..zeroshot.segmenter import TextSegmenter
from ..zeroshot.volume import STRATEGIES, VolumeResult, segment_volume
from .cases import Case
from .dataset import segments_of, write_case
from .report import PICTURES


@dataclass(frozen=True)
class ExportSettings:
    """What becomes of a result.

    Args:
        form: one of `dataset.FORMATS`.
        strategy: for volumes of several slices, see `zeroshot.volume.STRATEGIES`.
        plane: of the slices.
        window: display window; see `volumes.SliceStack`.
        least_score: a label with a lower score counts as not found; 0 to 1.
        least_ml, most_ml: and one of a smaller or larger volume, in ml (for pictures, without a thickness, in 1000
            pixels).
        keep_empty: cases in which nothing was found are in the dataset too, with an empty mask.
    """

    form: str = "nnunet"
    strategy: str = "memory"
    plane: str = "axial"
    window: object = None
    least_score: float = 0.0
    least_ml: float = 0.0
    most_ml: float = float("inf")
    keep_empty: bool = False

    def __post_init__(self) -> None:
        check_plane(self.plane)
        check_window(self.window)
        if self.strategy not in STRATEGIES:
            raise InputError(f"There is no strategy '{self.strategy}'.", f"Choose one of: {', '.join(STRATEGIES)}.")
        if not (0 <= self.least_score <= 1 and 0 <= self.least_ml <= self.most_ml):
            raise InputError(
                f"Filters: score {self.least_score}, {self.least_ml} to {self.most_ml} ml came.",
                "The score lies between 0 and 1, and the least size is not above the most.",
            )


@dataclass(frozen=True)
class Job:
    """What all cases of an export have in common: the dataset's folder, the settings, and the labels in their order."""

    out: Path
    settings: ExportSettings
    labels: tuple[str, ...]


def read(case: Case) -> tuple[Volume | MedCLIPSAMError, float]:
    """The image of a case, or why it cannot be read, and the seconds that took."""
    started = time.perf_counter()
    try:
        return read_volume(case.image, **case.choice()), time.perf_counter() - started
    except MedCLIPSAMError as error:
        return error, time.perf_counter() - started
    except Exception as error:  # one image of thousands must not end the run
        unforeseen = InputError(f"'{case.image}' cannot be read: {type(error).__name__}: {error}.", "Leave it out.")
        return unforeseen, time.perf_counter() - started


@dataclass
class Made:
    """What came of a case: a result, or why there is none."""

    volume: Volume | None
    result: VolumeResult | None
    error: MedCLIPSAMError | None
    seconds: dict[str, float]


def segmented(segmenter: TextSegmenter, case: Case, loaded, settings: ExportSettings) -> Made:
    """What comes of an image that `read` gave."""
    volume, loading = loaded
    started = time.perf_counter()
    seconds = {"load": loading, "segment": 0.0}
    if isinstance(volume, MedCLIPSAMError):
        return Made(None, None, volume, seconds)
    prompts = list(dict.fromkeys(case.prompts.values()))
    try:
        count = len(SliceStack(volume, settings.plane, settings.window))
        strategy = settings.strategy if count > 1 else "slices"
        every = range(count)
        result = segment_volume(
            segmenter, volume, prompts, every, settings.plane, case.negative, settings.window, strategy=strategy
        )
    except Cancelled:
        raise
    except MedCLIPSAMError as error:
        return Made(volume, None, error, seconds)
    except torch.OutOfMemoryError:
        device = segmenter.clip.device
        problem = DeviceError(f"The memory of {device} is too small for this image.", "Do it with --device cpu.")
        return Made(volume, None, problem, seconds)
    seconds["segment"] = time.perf_counter() - started
    return Made(volume, result, None, seconds)


def written(case: Case, made: Made, job: Job) -> dict:
    """Write the files of a case, and give the line of the manifest that it becomes."""
    out, settings, labels = job.out, job.settings, job.labels
    record = {"case": case.name, "image": str(case.image), "status": "failed", "labels": {}, "files": []}
    record |= {"seconds": made.seconds, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    started = time.perf_counter()
    if made.error is not None:
        record |= {"problem": made.error.problem, "remedy": made.error.remedy}
    else:
        volume, result = made.volume, made.result
        by_prompt = {segment.name: segment for segment in result.segments()}
        masks, tags = {}, {}
        for label, prompt in case.prompts.items():
            mask, wanted = by_prompt[prompt].mask, _about(result, prompt, by_prompt[prompt].mask, volume)
            wanted["status"] = _status(wanted, settings)
            record["labels"][label] = wanted
            masks[label] = mask if wanted["status"] == "found" else np.zeros_like(mask)
            tags[label] = by_prompt[prompt].tags
        states = [each["status"] for each in record["labels"].values()]
        record["status"] = next((state for state in ("found", "filtered") if state in states), "empty")
        record["modality"] = volume.modality
        record["notes"] = volume.notes
        if record["status"] == "found" or settings.keep_empty:
            try:
                segments = segments_of(labels, masks, tags)
                record["files"] = write_case(out, case.name, settings.form, volume, segments)
            except InputError as error:
                record |= {"status": "failed", "problem": error.problem, "remedy": error.remedy}
        record["slice"] = _picture(out, case, result, masks)
    record["seconds"]["write"] = time.perf_counter() - started
    record["seconds"] = {name: round(value, 3) for name, value in record["seconds"].items()}
    return record


def _about(result: VolumeResult, prompt: str, mask: np.ndarray, volume: Volume) -> dict:
    by_slice = result.results[prompt]
    best = max(by_slice.values(), key=lambda each: (each.score, each.where is not None))
    looked = [each.where.presence.probability for each in by_slice.values() if each.where]
    size = float(mask.sum()) * (volume.geometry.voxel_ml if not volume.natural else 1e-3)
    return {
        "prompt": prompt,
        "score": round(best.score, 4),
        "presence": round(max(looked), 4) if looked else None,
        "voxels": int(mask.sum()),
        "size": round(size, 4),
        "unit": "thousand pixels" if volume.natural else "ml",
        "message": best.message,
    }


def _status(about: Mapping, settings: ExportSettings) -> str:
    if not about["voxels"]:
        return "empty"
    fits = about["score"] >= settings.least_score and settings.least_ml <= about["size"] <= settings.most_ml
    return "found" if fits else "filtered"


def _picture(out: Path, case: Case, result: VolumeResult, masks: Mapping[str, np.ndarray]) -> int:
    """Write the slice on which most is seen, with the masks, for the report; its number."""
    stack = result.stack
    shown = {k: sum(int(stack.from_grid(mask, k).sum()) for mask in masks.values()) for k in range(len(stack))}
    best = max(shown, key=shown.get) if any(shown.values()) else len(stack) // 2
    (out / PICTURES).mkdir(exist_ok=True)
    drawn = {label: stack.from_grid(mask, best) for label, mask in masks.items()}
    picture = overlay(stack.picture(best), drawn, {label: colour_for(label) for label in drawn})
    write_picture(out / PICTURES / f"{case.name}.png", picture)
    return best
