"""Answer the requests that segment: by prompts on slices or whole stacks, by boxes and points, and by propagation."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ..choices import PropagationMethod, Strategy, parse_choice
from ..errors import InputError
from ..pipeline.memory_fallback import run_within_memory
from ..pipeline.request import ResolvedRequest
from ..pipeline.segment_volume import segment_slices
from ..pipeline.volume_result import collect_ood_scores, notes_on, provenance
from ..propagation.propagate_masks import MaskPropagationSettings, propagate_masks
from ..segmentation.mask_prompt import mask_logits
from ..segmentation.result import SliceResult
from ..segmentation.sam_prompts import follows_points
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import Settings
from .fields import prompts_of, read_sam_prompts, read_text_field, settings_of, write_part, write_propagated_part
from .images import ImageStack
from .protocol import Message
from .reply import Answer, Reply, run_context


def segment(segmenter: TextSegmenter, defaults: Settings, stack: ImageStack, message: Message, reply: Reply) -> Answer:
    """Answer "segment": a part for each prompt and slice."""
    slices = message.fields.get("slices")
    slices = list(range(len(stack))) if slices is None else slices
    if not slices:
        raise InputError("Expected slice numbers, got none.", "Send numbers, or null for all.")
    stack.require(slices)
    request = ResolvedRequest(*prompts_of(message), tuple(slices), Strategy.SLICES)
    with_saliency = message.fields.get("saliency") is not False
    with_uncertainty = message.fields.get("uncertainty") is True
    part = lambda result: write_part(result, with_saliency, with_uncertainty)
    return _run(segmenter, defaults, stack, request, message, reply, part)


def propagate(
    segmenter: TextSegmenter, defaults: Settings, stack: ImageStack, message: Message, reply: Reply
) -> Answer:
    """Answer "propagate": a part for each prompt and segmented slice, whether something was found or not."""
    method = _method_of(message)
    stack.require(range(len(stack)))
    request = ResolvedRequest(*prompts_of(message), tuple(range(len(stack))), Strategy(method))
    return _run(segmenter, defaults, stack, request, message, reply, write_propagated_part)


def _run(
    segmenter: TextSegmenter,
    defaults: Settings,
    stack: ImageStack,
    request: ResolvedRequest,
    message: Message,
    reply: Reply,
    part: Callable[[SliceResult], Answer],
) -> Answer:
    started = time.perf_counter()
    segmenter = segmenter.with_settings(settings_of(message, defaults))
    looked: dict[int, float | None] = {}
    for result in segment_slices(segmenter, stack, request, run_context(reply)):
        reply.send("part", *part(result))
        looked |= collect_ood_scores({result.number: result.result})
    notes, tags = list(notes_on(segmenter, looked)), provenance(segmenter, request)
    seconds = time.perf_counter() - started
    return {"device": str(segmenter.clip.device), "tags": tags, "notes": notes, "seconds": seconds}, {}


def answer_predict_mask(segmenter: TextSegmenter, stack: ImageStack, message: Message, reply: Reply) -> Answer:
    """Answer "predict_mask": the union of SAM 2's masks of some objects on one slice."""
    started = time.perf_counter()
    number, context = message.fields.get("slice") or 0, run_context(reply)
    stack.require([number])
    prompts, masks = read_sam_prompts(message.arrays), message.arrays.get("masks")
    if masks is not None:
        _check_masks(masks, (len(prompts), *stack.shape), "Send a mask for each object, with the size of the image.")
    part = context.part(0.0, 1.0, slice=number)

    def work() -> tuple[np.ndarray, np.ndarray]:
        context.raise_if_cancelled()
        images = [stack.image(number)]
        if not segmenter.has_images(images):
            segmenter.set_images(images)
        side = segmenter.sam.image_size // 4
        logits = None if masks is None else np.stack([mask_logits(mask > 0, side) for mask in masks])
        return segmenter.predict_mask(prompts, logits=logits, context=part)

    mask, quality = run_within_memory(segmenter, work, context)
    followed = follows_points(mask, prompts.points.reshape(-1, 2), prompts.labels.ravel())
    fields = {"slice": number, "device": str(segmenter.clip.device), "seconds": time.perf_counter() - started}
    fields["ignored_points"] = int((~followed).sum())
    return fields, {"mask": mask.astype(np.uint8), "predicted_iou": quality}


def answer_propagate_masks(segmenter: TextSegmenter, stack: ImageStack, message: Message, reply: Reply) -> Answer:
    """Answer "propagate_masks": a part for each slice to which a mask was propagated.

    The fields of the request are slices (M numbers), reach (slices to go beyond the outermost of them, or None) and
    method. Its array masks, uint8 (M, H, W), has a mask for each of the slices.
    """
    started = time.perf_counter()
    numbers, masks = message.fields.get("slices"), message.arrays.get("masks")
    if not numbers or masks is None:
        raise InputError("Expected slice numbers and a mask for each, got none.", "Send both.")
    for needed in (numbers, range(len(stack))):
        stack.require(needed)
    _check_masks(masks, (len(numbers), *stack.shape), "Send a mask for each slice, with the size of the image.")
    reach = message.fields.get("reach")
    if reach is not None and reach < 1:
        raise InputError(f"Expected a number of slices as reach, got {reach}.", "Send 1 or more, or null.")
    known = {k: mask > 0 for k, mask in zip(numbers, masks)}
    settings, context = MaskPropagationSettings(_method_of(message)), run_context(reply)

    def work() -> dict[int, np.ndarray]:
        found = {}
        for k, objects in propagate_masks(
            segmenter, len(stack), stack.image, {"": known}, settings, reach, context=context
        ):
            found[k] = objects[""].astype(np.uint8)
            context.report(len(found) / len(stack), stage="propagation", slice=k)
        return found

    for k, mask in run_within_memory(segmenter, work, context).items():
        reply.send("part", {"slice": k}, {"mask": mask})
    return {"device": str(segmenter.clip.device), "seconds": time.perf_counter() - started}, {}


def _check_masks(masks: np.ndarray, shape: tuple[int, ...], remedy: str) -> None:
    if masks.dtype != np.uint8 or masks.shape != shape:
        raise InputError(f"Masks: expected uint8 {shape}, got {masks.dtype} {masks.shape}.", remedy)


def _method_of(message: Message) -> PropagationMethod:
    return parse_choice(PropagationMethod, read_text_field(message, "method", "memory"), "propagation method")
