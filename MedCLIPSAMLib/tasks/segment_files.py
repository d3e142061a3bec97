"""Segment image files one after the other with the same models; if one fails, the others are still segmented."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checkpoints import CheckpointFolder
from ..choices import MaskFormat, Strategy
from ..errors import InputError, MedCLIPSAMError, PromptError, attempt
from ..files.unfinished import hold_unfinished
from ..pipeline.memory_fallback import run_within_memory
from ..pipeline.request import ResolvedRequest, SegmentationRequest
from ..pipeline.segment_volume import segment_volume
from ..pipeline.volume_result import VolumeResult, provenance
from ..run_context import RunContext
from ..segmentation.report import LeftOut
from ..segmentation.result import Result
from ..segmentation.segmenter import TextSegmenter
from ..volumes import SliceStack, Volume
from .inputs import Input
from .marks import Marks, Numbers, Region
from .places import Places
from .report_file import FindingPrompt
from .segmented import Segmented
from .writing import check_form, write


@dataclass(frozen=True)
class Task:
    """What to do with every image.

    Args:
        labels: label -> prompt.
        request: request for these prompts.
        form: format of the masks.
        marks: boxes and points to outline; the prompt is then only a name.
        roi: the part of the image to segment; see `marks.Region`.

    Raises:
        InputError: marks are combined with several labels or slices, or slices are given although `roi` selects them.
    """

    labels: dict[str, str]
    request: SegmentationRequest
    form: MaskFormat
    marks: Marks = Marks()
    roi: Numbers | None = None

    def __post_init__(self) -> None:
        if self.marks and len(self.labels) > 1:
            raise InputError(
                "Boxes and points make one segment, but several prompts were given.",
                "Give one prompt as its label, or none.",
            )
        slices = self.request.slices
        if self.marks and (slices == "all" or (slices and len(slices) > 1) or self.request.strategy is not None):
            raise InputError("Boxes and points mark a single slice.", "Leave out --all, --slices and --propagate.")
        if self.roi is not None and len(self.roi) == 6 and slices is not None:
            raise InputError(
                "Slices were given although --roi with six numbers selects them.", "Give four numbers, or no slices."
            )

    def describe(self) -> dict[str, Any]:
        """Return everything the results depend on besides the image, the models and their settings, as JSON values."""
        request = self.request
        described = {
            "prompts": self.labels,
            "negative": request.negative,
            "plane": request.plane,
            "slices": request.slices,
            "propagate": request.strategy,
            "window": request.window,
            "format": self.form,
            "marks": self.tags,
        }
        return json.loads(json.dumps(described))

    @property
    def tags(self) -> dict[str, str]:
        """The boxes, points and region of interest as tags of segments."""
        text_of = lambda numbers: ",".join(f"{number:g}" for number in numbers)
        points = (f"{text_of(place)},{'+' if inside else '-'}" for place, inside in self.marks.points)
        marked = {
            "Boxes": map(text_of, self.marks.boxes),
            "Points": points,
            "Roi": [text_of(self.roi)] if self.roi else (),
        }
        joined = {name: " ".join(values) for name, values in marked.items()}
        return {f"MedCLIPSAM.{name}": text for name, text in joined.items() if text}


@dataclass(frozen=True)
class Failed:
    """An image that failed, and its error."""

    image: Input
    error: MedCLIPSAMError

    def report(self) -> dict[str, Any]:
        """Return the failure as JSON values."""
        problem, remedy = self.image.hide_names(self.error.problem), self.image.hide_names(self.error.remedy)
        return {"input": self.image.shown, "problem": problem, "remedy": remedy}

    @property
    def line(self) -> str:
        """The failure as one line for the user."""
        message = f"{self.error.problem} {self.error.remedy}".strip().replace("\n", " ")
        return f"failed: {self.image.name}: {self.image.hide_names(message)}"


class FileSegmenter:
    """Segments images one by one with the same models.

    Args:
        task: what to do with every image.
        load: loads the models; called once, after the first image has been read.
        record_left_out: called with the labels that the models cannot process, before the first mask is written.
    """

    def __init__(
        self,
        task: Task,
        load: Callable[[], TextSegmenter],
        record_left_out: Callable[[Sequence[str]], None] = lambda labels: None,
    ) -> None:
        self._task, self._load, self._record_left_out = task, load, record_left_out
        self._segmenter: TextSegmenter | None = None
        self._left_out: tuple[LeftOut, ...] = ()

    def segment(self, image: Input, places: Places, context: RunContext = RunContext()) -> Segmented | Failed:
        """Segment and write one image, or return why that failed.

        Raises:
            PromptError: the models cannot process a prompt that the user gave, or any finding of a report.
            ModelError, DeviceError: from `load`. Cancelled, OutputError: see `errors.attempt`.
        """
        failure = f"'{image.path}' cannot be segmented"
        volume = attempt(lambda: _read(image, places, self._task), image.name, failure)
        if isinstance(volume, MedCLIPSAMError):
            return Failed(image, volume)
        segmenter = self._ready()
        work = lambda: segment_file(segmenter, image.name, volume, places, self._task, context)
        segmented = attempt(work, image.name, failure)
        if isinstance(segmented, MedCLIPSAMError):
            return Failed(image, segmented)
        return replace(segmented, left_out=self._left_out)

    def _ready(self) -> TextSegmenter:
        if self._segmenter is None:
            segmenter = self._load()
            if not self._task.marks:
                labels = self._task.labels
                self._task, self._left_out = _leave_out(segmenter, self._task)
                if self._left_out:
                    self._record_left_out([label for label in labels if label not in self._task.labels])
            self._segmenter = segmenter
        return self._segmenter


def _leave_out(segmenter: TextSegmenter, task: Task) -> tuple[Task, tuple[LeftOut, ...]]:
    """Leave out the findings of a report that the model cannot process, such as words that it does not know.

    Raises:
        PromptError: the model cannot process a prompt that the user gave, or any finding of a report.
    """
    left_out, first = list[LeftOut](), None
    for prompt in task.request.prompts:
        try:
            segmenter.text_features(prompt)
        except PromptError as error:
            if not isinstance(prompt, FindingPrompt):
                raise
            first = first or error
            reason = error.problem[:1].lower() + error.problem[1:].rstrip(".")
            left_out.append(LeftOut(str(prompt), reason))
    if not left_out or first is None:
        return task, ()
    labels = {label: prompt for label, prompt in task.labels.items() if prompt not in {part.text for part in left_out}}
    if not labels:
        problems = " ".join(f"'{part.text}': {part.reason}." for part in left_out)
        raise PromptError(f"No finding of the report can be segmented. {problems}", first.remedy)
    request = replace(task.request, prompts=tuple(dict.fromkeys(labels.values())))
    return replace(task, labels=labels, request=request), tuple(left_out)


def segment_file(
    segmenter: TextSegmenter, name: str, volume: Volume, places: Places, task: Task, context: RunContext
) -> Segmented:
    """Segment one image and write what was found.

    Raises:
        MedCLIPSAMError: from the pipeline, or a file cannot be written.
    """
    stack = SliceStack(volume, task.request.plane, task.request.window)
    request, marks, looked_at, region = task.request, task.marks, volume, None
    if task.roi is not None:
        roi = Region.from_box(task.roi, stack)
        region, marks = roi.in_plane(stack), marks.within(roi, stack)
        looked_at = region.cut(volume)
        if len(task.roi) == 6 and not marks:
            request = replace(request, slices=roi.slices(stack))

    def written(found: VolumeResult) -> Segmented:
        segmented = Segmented.from_result(name, volume, stack, found, task.labels, places, region, task.tags)
        return write(segmented, task.form)

    if marks:
        part = SliceStack(looked_at, request.plane, request.window)
        return written(_outlined(segmenter, part, marks, task, context))
    with ExitStack() as resources:
        resources.enter_context(hold_unfinished(places.unfinished))
        checkpoints = CheckpointFolder(places.unfinished)
        context = replace(context, checkpoints=checkpoints)
        segmented = written(segment_volume(segmenter, looked_at, request, context).collect())
        checkpoints.remove()
    return segmented


def _read(image: Input, places: Places, task: Task) -> Volume:
    volume = image.read()
    for path in places.masks.values():
        check_form(task.form, path, volume)
    return volume


def _outlined(
    segmenter: TextSegmenter, stack: SliceStack, marks: Marks, task: Task, context: RunContext
) -> VolumeResult:
    """Outline boxes and points with SAM 2; the prompt is only a name."""
    slices = task.request.slices
    number, sam_prompts = marks.place(stack, None if slices is None or slices == "all" else slices[0])
    image = stack.image(number)

    def work() -> tuple[np.ndarray, np.ndarray]:
        context.raise_if_cancelled()
        if not segmenter.has_images([image]):
            segmenter.set_image(image)
        return segmenter.predict_mask(sam_prompts, context=context)

    mask, quality = run_within_memory(segmenter, work, context)
    ((label, prompt),) = task.labels.items()
    score = float(quality.mean()) if mask.any() else 0.0
    outlined = f"Outlined '{label}' from its boxes and points: predicted mask quality {score:.2f}."
    message = outlined if mask.any() else f"SAM 2 finds no object for '{label}' where it was marked."
    results: dict[str, dict[int, Result]] = {prompt: {number: Result(prompt, mask, score, message)}}
    resolved = ResolvedRequest((prompt,), None, (number,), Strategy.SLICES, task.request.window)
    return VolumeResult(stack, resolved, results, provenance(segmenter, resolved, stack.plane))
