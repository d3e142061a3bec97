"""Pseudo-labels by the thousand: every case segmented by its prompts and written into a dataset.

Loading, computing and writing overlap: the next image is read while the models work on this one, and the last is
written. A case is in the manifest once its files are whole, so that a killed run goes on with the next; a broken file
is recorded and the run goes on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..errors import Cancelled, DeviceError, InputError, MedCLIPSAMError
from ..evaluation.pictures import overlay
from ..volumes import SliceStack, Volume, read_volume
from ..volumes.atomic import atomic_path
from ..volumes.terminology import colour_for
from ..volumes.write import write_picture
from ..zeroshot.segmenter import TextSegmenter
from ..zeroshot.volume import VolumeResult, segment_volume
from .cases import Case
from .dataset import check_folder, segments_of, write_case, write_description
from .manifest import Manifest, read_records
from .report import PICTURES, write_report

STRUCK = "struck.txt"
"""In a dataset: the cases that a person struck out, a name a line."""


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
        if not (0 <= self.least_score <= 1 and 0 <= self.least_ml <= self.most_ml):
            raise InputError(
                f"Filters: score {self.least_score}, {self.least_ml} to {self.most_ml} ml came.",
                "The score lies between 0 and 1, and the least size is not above the most.",
            )


@dataclass(frozen=True)
class Progress:
    """Cases done and in all, the one that was finished last, its status, and the seconds left."""

    done: int
    total: int
    case: str
    status: str
    seconds_left: float


def export(
    cases: Sequence[Case],
    segmenter: TextSegmenter,
    out: Path,
    settings: ExportSettings = ExportSettings(),
    report: Callable[[Progress], None] = lambda progress: None,
    retry: bool = False,
) -> dict[str, int]:
    """Segment and write every case that the manifest in `out` does not have yet.

    Args:
        out: the dataset's folder; new, empty, or of the same export.
        retry: do the cases again that failed.

    Returns:
        How many cases of the manifest have each status: "found", "empty", "filtered", "failed".

    Raises:
        InputError: two cases of one name, or a folder that does not fit the format. OutputError: see `Manifest`; or the
            disk is full: what was done is kept. Cancelled: the same.
    """
    check_folder(out, settings.form)
    if len({case.name for case in cases}) < len(cases):
        raise InputError("Two cases have the same name.", "Give each a name of its own.")
    labels = list(dict.fromkeys(label for case in cases for label in case.prompts))
    manifest = Manifest(out, _request(segmenter, settings, labels))
    todo = [
        case
        for case in cases
        if case.name not in manifest.records or (retry and manifest.records[case.name]["status"] == "failed")
    ]
    started, finished = time.monotonic(), 0

    def end(writing: Future) -> None:
        nonlocal finished
        record = writing.result()
        finished += 1
        left = (len(todo) - finished) * (time.monotonic() - started) / finished
        done = len(cases) - len(todo) + finished
        report(Progress(done, len(cases), record["case"], record["status"], left))

    try:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            waiting = deque(todo)
            reading = reader.submit(_read, waiting[0]) if waiting else None
            writings: deque[Future] = deque()
            try:
                while waiting:
                    case, loaded = waiting.popleft(), reading.result()
                    reading = reader.submit(_read, waiting[0]) if waiting else None
                    made = _segmented(segmenter, case, loaded, settings)
                    writings.append(writer.submit(_written, manifest, out, case, made, labels, settings))
                    while len(writings) > 1:
                        end(writings.popleft())
            finally:
                while writings:
                    end(writings.popleft())
    finally:
        try:
            refresh(out, settings.form, labels)
        finally:
            manifest.close()
    counts: dict[str, int] = {}
    for record in manifest.records.values():
        counts[record["status"]] = counts.get(record["status"], 0) + 1
    return counts


def refresh(out: Path, form: str, labels: Sequence[str]) -> None:
    """Write anew what is made of the manifest: the description of the dataset and the report."""
    records = list(read_records(out).values())
    struck = read_struck(out)
    inside = [each["case"] for each in records if each["files"] and each["case"] not in struck]
    modalities = {each.get("modality") for each in records if each["files"]}
    channel = modalities.pop() if len(modalities) == 1 else None
    write_description(out, form, labels, inside, channel or "image")
    write_report(out, records, struck)


def read_struck(out: Path) -> set[str]:
    """The cases that a person struck out."""
    path = out / STRUCK
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()


def write_struck(out: Path, names: Collection[str]) -> None:
    """Write down the cases that a person struck out."""
    with atomic_path(out / STRUCK) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")


def _request(segmenter: TextSegmenter, settings: ExportSettings, labels: Sequence[str]) -> dict:
    made_by = {"clip": segmenter.clip.name, "sam": segmenter.sam.name, "version": __version__}
    kept = {**asdict(settings), "most_ml": min(settings.most_ml, 1e12)}
    return {"models": made_by, "export": kept, "segmenter": asdict(segmenter.settings), "labels": list(labels)}


def _read(case: Case) -> tuple[Volume | MedCLIPSAMError, float]:
    started = time.perf_counter()
    try:
        return read_volume(case.image), time.perf_counter() - started
    except MedCLIPSAMError as error:
        return error, time.perf_counter() - started
    except Exception as error:  # one image of thousands must not end the run
        unforeseen = InputError(f"'{case.image}' cannot be read: {type(error).__name__}: {error}.", "Leave it out.")
        return unforeseen, time.perf_counter() - started


@dataclass
class _Made:
    """What came of a case: a result, or why there is none."""

    volume: Volume | None
    result: VolumeResult | None
    error: MedCLIPSAMError | None
    seconds: dict[str, float]


def _segmented(segmenter: TextSegmenter, case: Case, loaded, settings: ExportSettings) -> _Made:
    volume, loading = loaded
    started = time.perf_counter()
    seconds = {"load": loading, "segment": 0.0}
    if isinstance(volume, MedCLIPSAMError):
        return _Made(None, None, volume, seconds)
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
        return _Made(volume, None, error, seconds)
    except torch.OutOfMemoryError:
        device = segmenter.clip.device
        problem = DeviceError(f"The memory of {device} is too small for this image.", "Do it with --device cpu.")
        return _Made(volume, None, problem, seconds)
    seconds["segment"] = time.perf_counter() - started
    return _Made(volume, result, None, seconds)


def _written(
    manifest: Manifest, out: Path, case: Case, made: _Made, labels: Sequence[str], settings: ExportSettings
) -> dict:
    """Write the files of a case, and then its line of the manifest."""
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
        if record["status"] == "found" or settings.keep_empty:
            try:
                segments = segments_of(labels, masks, tags)
                record["files"] = write_case(out, case.name, settings.form, volume, segments)
            except InputError as error:
                record |= {"status": "failed", "problem": error.problem, "remedy": error.remedy}
        record["slice"] = _picture(out, case, result, masks)
    record["seconds"]["write"] = time.perf_counter() - started
    record["seconds"] = {name: round(value, 3) for name, value in record["seconds"].items()}
    manifest.write(record)
    return record


def _about(result: VolumeResult, prompt: str, mask: np.ndarray, volume: Volume) -> dict:
    by_slice = result.results[prompt]
    best = max(by_slice.values(), key=lambda each: (each.score, each.where is not None))
    looked = [each.where.presence.probability for each in by_slice.values() if each.where]
    size = float(mask.sum()) * (float(np.prod(volume.image.GetSpacing())) / 1000 if not volume.natural else 1e-3)
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
