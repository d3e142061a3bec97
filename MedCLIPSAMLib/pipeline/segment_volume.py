"""Segment prompts in a volume: the pipeline that the command line, the worker, the export and programs share.

    request = SegmentationRequest(("brain tumor",), slices="all")
    result = segment_volume(load_segmenter(), read_volume("head.nii.gz"), request).collect()
    write_segmentation("tumor.seg.nrrd", result.segments(), result.stack.volume)

It handles the default strategy, batches of slices, checkpoints, and running out of memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from .. import __version__
from ..checkpoints import fingerprint
from ..choices import Plane, PropagationMethod, Strategy
from ..errors import InputError, check_type
from ..propagation.key_slices import compute_presence_profile
from ..propagation.propagate import PropagateSettings, propagate
from ..propagation.propagate_masks import MaskPropagationSettings
from ..run_context import RunContext
from ..segmentation.result import PromptedResult, Result, SliceResult
from ..segmentation.result_arrays import load_results, store_results
from ..segmentation.segmenter import TextSegmenter
from ..volumes import SliceStack, Volume
from .memory_fallback import run_within_memory
from .request import ResolvedRequest, SegmentationRequest
from .volume_result import VolumeRun

log = logging.getLogger(__name__)

PRESENCE_SHARE = 0.3
"""Approximate share of the time of a propagation that the search for key slices takes."""


class Slices(Protocol):
    """Slice images of one size, uint8 (H, W, 3), by number."""

    def __len__(self) -> int: ...

    def image(self, k: int) -> np.ndarray:
        """Return the image of slice k."""
        ...


def segment_volume(
    segmenter: TextSegmenter, volume: Volume, request: SegmentationRequest, context: RunContext = RunContext()
) -> VolumeRun:
    """Segment what each prompt names on slices of a volume, lazily, slice by slice.

    Args:
        context: reports progress; if there are several slices, its checkpoints are opened for this request.

    Returns:
        An iterator of `SliceResult`; its method `collect` returns all results on the grid of the volume.

    Raises:
        InputError: a slice does not exist, or the slices do not suit the strategy. PromptError: the model cannot read
            a prompt. DeviceError: too little memory. Cancelled: by the context; its checkpoints hold the finished
            steps.
    """
    check_type(segmenter, TextSegmenter, "a TextSegmenter", "Give load_segmenter().")
    check_type(volume, Volume, "a Volume", "Give read_volume(path).")
    check_type(request, SegmentationRequest, "a SegmentationRequest", "Give SegmentationRequest(('brain tumor',)).")
    check_type(context, RunContext, "a RunContext")
    if request.settings is not None:
        segmenter = segmenter.with_settings(request.settings)
    segmenter = segmenter.with_modality(volume.modality)
    stack = SliceStack(volume, request.plane, request.window)
    resolved = request.resolve(len(stack), volume.name, stack.plane)
    if len(resolved.slices) == 1:
        context = replace(context, checkpoints=None)
    if context.checkpoints:
        described = {
            "models": [segmenter.clip.name, segmenter.sam.name],
            "settings": segmenter.settings.deciding(),
            "version": __version__,
            "shape": volume.array.shape,
            "geometry": repr(volume.geometry),
            "shown": repr((volume.natural, volume.window, volume.curve)),
        }
        context.checkpoints.open(fingerprint(volume.array, **request.describe(resolved), **described))
        if context.checkpoints.count:
            context.notify(f"Resuming a run that was stopped: {context.checkpoints.count} steps are done.")
    return VolumeRun(segmenter, stack, resolved, segment_slices(segmenter, stack, resolved, context))


def segment_slices(
    segmenter: TextSegmenter, stack: Slices, request: ResolvedRequest, context: RunContext = RunContext()
) -> Iterator[SliceResult]:
    """Segment what each prompt names on slices of a stack; see `segment_volume`."""
    log.info(
        "segmenting %s on %d of %d slices by %s",
        ", ".join(map(repr, request.prompts)),
        len(request.slices),
        len(stack),
        request.strategy,
    )
    if request.strategy == Strategy.SLICES:
        return _segment_each(segmenter, stack, request, context)
    if request.strategy == Strategy.PLANES:
        return _vote_over_planes(segmenter, stack, request, context)
    return _propagate_each(segmenter, stack, request, context)


def _segment_each(
    segmenter: TextSegmenter, stack: Slices, request: ResolvedRequest, context: RunContext
) -> Iterator[SliceResult]:
    """Run the full pipeline on every slice independently, in batches where that is faster.

    With batches, the images of the next batch are read on another thread while the device is busy.
    """
    prompts, left = list(request.prompts), []
    for number in request.slices:
        stored = load_results(context.checkpoints, f"slice-{number}")
        if stored is None:
            left.append(number)
        else:
            yield from (_slice_result(number, result) for result in stored.values())
    count = len(request.slices) * len(prompts)
    done = (len(request.slices) - len(left)) * len(prompts)
    read = lambda numbers: [stack.image(number) for number in numbers]
    reader, ahead = ThreadPoolExecutor(1), dict[tuple[int, ...], Future[list[np.ndarray]]]()
    while left:
        size = segmenter.batch_size  # smaller if memory has run out in the meantime
        batch, left = left[:size], left[size:]
        images = ahead[key].result() if (key := tuple(batch)) in ahead else read(batch)
        ahead = {tuple(left[:size]): reader.submit(read, left[:size])} if left and size > 1 else {}
        by_slice: list[dict[str, PromptedResult]] = [{} for _ in batch]
        for group in [prompts] if size > 1 else [[prompt] for prompt in prompts]:
            end = done + len(batch) * len(group)
            name = f"slice {batch[0]}" if len(batch) == 1 else f"slices {batch[0]} to {batch[-1]}"
            message = f"{name}: {', '.join(group)}"
            part = context.part(done / count, end / count, message, slice=batch[0], prompt=group[0])
            found = _segment_batch(segmenter, images, group, request.negative, part)
            for number, results, more in zip(batch, by_slice, found):
                results |= more
                yield from (_slice_result(number, result) for result in more.values())
            done = end
        for number, results in zip(batch, by_slice):
            store_results(context.checkpoints, f"slice-{number}", results)


def _segment_batch(
    segmenter: TextSegmenter, images: list[np.ndarray], prompts: list[str], negative: str | None, context: RunContext
) -> list[dict[str, PromptedResult]]:
    """Segment every image by every prompt, without encoding again the images that were segmented last."""

    def segment() -> list[dict[str, PromptedResult]]:
        context.raise_if_cancelled()
        if not segmenter.has_images(images):
            segmenter.set_images(images)
        return segmenter.segment_each(prompts, negative, context)

    return run_within_memory(segmenter, segment, context)


def _slice_result(number: int, result: PromptedResult) -> SliceResult:
    return SliceResult(number, result, result.where.presence.probability)


def _propagate_each(
    segmenter: TextSegmenter, stack: Slices, request: ResolvedRequest, context: RunContext
) -> Iterator[SliceResult]:
    """Segment key slices for each prompt and propagate their masks to the other slices."""
    first, count, prompts = request.slices[0], len(request.slices), list(request.prompts)
    image = lambda k: stack.image(first + k)
    settings = PropagateSettings(MaskPropagationSettings(PropagationMethod(request.strategy)), first=first)
    stored = context.checkpoints.load("profiles") if context.checkpoints else None
    if stored:
        profiles = stored["profiles"]
    else:
        part = context.part(0.0, PRESENCE_SHARE, "looking for key slices", prompt=None)
        look = lambda: compute_presence_profile(segmenter, image, count, prompts, request.negative, part)
        profiles = run_within_memory(segmenter, look, part)
        if context.checkpoints:
            context.checkpoints.store("profiles", {"profiles": profiles})
    share = (1 - PRESENCE_SHARE) / len(prompts)
    for index, (prompt, profile) in enumerate(zip(prompts, profiles)):
        start = PRESENCE_SHARE + share * index
        part = context.part(start, start + share, prompt=prompt).checkpoint_part(f"prompt-{index}")
        work = partial(propagate, segmenter, count, image, prompt, profile, request.negative, settings, part)
        results = run_within_memory(segmenter, work, part)
        for k in sorted(results):
            yield SliceResult(first + k, results[k], float(profile[k]))


def _vote_over_planes(
    segmenter: TextSegmenter, stack: Slices, request: ResolvedRequest, context: RunContext
) -> Iterator[SliceResult]:
    """Segment by memory along all three planes and keep what at least two of them agree on."""
    if not isinstance(stack, SliceStack) or stack.volume.natural or len(request.slices) < len(stack):
        raise InputError("Three planes need a whole volume.", "Use the strategy 'memory'.")
    votes = {prompt: np.zeros(stack.volume.shape, np.uint8) for prompt in request.prompts}
    score = dict.fromkeys(request.prompts, 0.0)
    for at, plane in enumerate(Plane):
        other = stack if plane == stack.plane else SliceStack(stack.volume, plane, request.window)
        part = context.part(at / len(Plane), (at + 1) / len(Plane)).checkpoint_part(plane.value)
        masks: dict[str, dict[int, np.ndarray]] = {prompt: {} for prompt in request.prompts}
        for found in _propagate_each(segmenter, other, request.along(len(other)), part):
            prompt = found.result.prompt
            masks[prompt][found.number] = found.result.mask
            score[prompt] = max(score[prompt], found.result.score)
        for prompt, by_slice in masks.items():
            votes[prompt] += other.to_grid(by_slice).astype(np.uint8)
    for prompt in request.prompts:
        agreed = votes[prompt] >= 2
        shown = {k: mask for k in request.slices if (mask := stack.from_grid(agreed, k)).any()}
        message = f"Found '{prompt}' in at least two of three planes (score {score[prompt]:.2f} at best)."
        for k, mask in shown.items():
            yield SliceResult(k, Result(prompt, mask, score[prompt], message), None)
        if not shown:
            empty = np.zeros(stack.image_shape, bool)
            nothing = Result(prompt, empty, 0.0, f"Nothing found for '{prompt}' in two planes.")
            yield SliceResult(request.slices[len(request.slices) // 2], nothing, None)
