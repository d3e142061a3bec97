"""Propagate masks from a few slices to their neighbors, by SAM 2's memory or by boxes.

Both stop at the end of the object: where SAM 2 sees nothing, or the mask becomes so large that it shows something else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import Field

from ..choices import PropagationMethod
from ..errors import InputError
from ..models.interrupt import interruptible
from ..run_context import RunContext
from ..segmentation.mask_prompt import mask_box
from ..segmentation.own_precision import own_precision
from ..segmentation.sam_prompts import SamPrompts
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.tidy import tidy
from ..validated import Choice, settings_class
from .slice_memory import SliceMemory

SliceImage = Callable[[int], np.ndarray]
PropagatedMasks = tuple[int, dict[str, np.ndarray]]
Objects = Mapping[str, Mapping[int, np.ndarray]]


@settings_class
class MaskPropagationSettings:
    """Settings of the propagation of masks.

    Args:
        method: "memory" (SAM 2's memory of the previous slices) or "boxes" (the box around each mask is the prompt on
            the next slice).
        patience: number of consecutive slices without the object at which it counts as ended.
        growth: a mask more than this many times larger than the largest given one counts as a leak.
    """

    method: Choice[PropagationMethod] = PropagationMethod.MEMORY
    patience: Annotated[int, Field(ge=1)] = 2
    growth: Annotated[float, Field(gt=1)] = 3.0


def propagate_masks(
    segmenter: TextSegmenter,
    count: int,
    image: SliceImage,
    given: Objects,
    settings: MaskPropagationSettings = MaskPropagationSettings(),
    reach: int | None = None,
    limits: tuple[int, int] | None = None,
    context: RunContext = RunContext(),
) -> Iterator[PropagatedMasks]:
    """Propagate masks of objects to the slices between and around the given ones, slice by slice.

    Objects that are given, or given as empty, on the same slices are propagated together; others one after another.

    Args:
        count: number of slices in the stack.
        image: slice number -> uint8 (H, W, 3).
        given: object -> slice number -> bool (H, W). An empty mask marks an end of the object; objects with only empty
            masks are ignored. The given slices of an object are not yielded for it.
        reach: number of slices to go beyond the outermost given slices of an object; None means up to the ends of the
            stack.
        limits: lowest and highest slice to go to; None means the ends of the stack.
        context: its checkpoints hold each finished slice; they are valid only for the same `given` and settings.

    Yields:
        (slice number, {object: bool (H, W), not empty}), first downwards from the lowest given slice, then upwards, and
        back from a given slice if an object ended before reaching it.

    Raises:
        InputError: all masks are empty, or the masks differ in shape. Cancelled.
    """
    objects = {name: dict(masks) for name, masks in given.items() if any(mask.any() for mask in masks.values())}
    if not objects:
        raise InputError("Every mask that was given is empty.", "Outline the object on at least one slice.")
    shapes = sorted({mask.shape for masks in objects.values() for mask in masks.values()})
    if len(shapes) > 1:
        raise InputError(f"Expected masks of one shape, got {shapes}.", "Give masks of the slices.")
    by_slices: dict[tuple[tuple[int, bool], ...], dict[str, Mapping[int, np.ndarray]]] = {}
    for name, masks in objects.items():
        by_slices.setdefault(tuple((k, bool(masks[k].any())) for k in sorted(masks)), {})[name] = masks
    reach = count if reach is None else reach
    low, high = limits or (0, count - 1)
    for number, (places, together) in enumerate(by_slices.items()):
        (first, at_first), (last, at_last) = places[0], places[-1]
        spans = [(first, max(low - 1, first - reach - 1), False)] if at_first and first >= low else []
        for (k, at_k), (to, at_to) in pairwise(places):
            spans += [(k, to, at_to)] if at_k else [(to, k, False)] if at_to else []
        spans += [(last, min(high + 1, last + reach + 1), False)] if at_last and last <= high else []
        part = context.checkpoint_part(f"{number}")
        yield from _propagate_together(segmenter, count, image, together, settings, spans, part)


def _propagate_together(
    segmenter: TextSegmenter,
    count: int,
    image: SliceImage,
    objects: Objects,
    settings: MaskPropagationSettings,
    spans: Sequence[tuple[int, int, bool]],
    context: RunContext,
) -> Iterator[PropagatedMasks]:
    """Propagate objects that are given on the same slices, over spans that begin at a given slice.

    Args:
        spans: for each, the given slice where it begins, the slice after its end, and whether the latter shows the
            objects too. If so, objects that ended on the way are followed back from there.
    """
    kind: type[_Memory] | type[_Boxes] = _Memory if settings.method == PropagationMethod.MEMORY else _Boxes
    carrier = kind(segmenter, count, image, objects)
    largest = {name: max(int(mask.sum()) for mask in masks.values()) for name, masks in objects.items()}

    def follow(start: int, beyond: Mapping[str, int]) -> Generator[PropagatedMasks, None, dict[str, int]]:
        """Follow each object to before a slice; return the objects that ended earlier and where each was last seen."""
        unseen, ended, left = dict.fromkeys(beyond, 0), dict[str, int](), list(beyond)
        furthest = max(beyond.values(), key=lambda k: abs(k - start))
        step = 1 if furthest > start else -1
        part = context.checkpoint_part(f"{start}-{'up' if step > 0 else 'down'}")
        for k, masks in carrier.follow(start, furthest, part):
            context.raise_if_cancelled()
            seen: dict[str, np.ndarray] = {}
            for name in left:
                mask = tidy(masks[name], segmenter.settings.min_part)
                if mask.any() and mask.sum() <= settings.growth * largest[name]:
                    seen[name], unseen[name] = mask, 0
                else:
                    unseen[name] += 1
                if unseen[name] >= settings.patience:
                    ended[name] = k - step * settings.patience
            if seen:
                yield k, seen
            left = [name for name in left if name not in ended and k + step != beyond[name]]
            if not left:
                break
        return ended

    for start, beyond, both in spans:
        ended = yield from follow(start, dict.fromkeys(objects, beyond))
        if both and ended:
            yield from follow(beyond, ended)


def _slices_between(start: int, beyond: int) -> range:
    """Return the slices after `start` and before `beyond`, in the direction from one to the other."""
    step = 1 if beyond > start else -1
    return range(start + step, beyond, step)


class _Memory:
    """Propagation by SAM 2's memory, from the given masks on both sides."""

    def __init__(self, segmenter: TextSegmenter, count: int, image: SliceImage, objects: Objects) -> None:
        self._segmenter = segmenter
        segmenter.set_up_sam()
        self._own_precision = own_precision(segmenter.sam.device)
        first = next(iter(next(iter(objects.values())).values()))
        self._memory = SliceMemory(segmenter.sam, count, image, first.shape)
        for name, masks in objects.items():
            # SAM 2 first needs a slice that shows the object.
            for k, mask in sorted(masks.items(), key=lambda item: not item[1].any()):
                with self._own_precision:
                    self._memory.give(name, k, mask)

    def follow(self, start: int, beyond: int, context: RunContext) -> Iterator[PropagatedMasks]:
        slices = _slices_between(start, beyond)
        if not len(slices):
            return
        followed = self._memory.follow(start, slices[-1], context.checkpoints)
        while found := self._next(followed, context):
            yield found

    def _next(self, followed: Iterator[PropagatedMasks], context: RunContext) -> PropagatedMasks | None:
        """Follow to the next slice, if there is one. Between two slices the model is free for other work."""
        self._segmenter.set_up_sam()
        with self._own_precision, interruptible(self._segmenter.sam.image_encoder.trunk.blocks, context):
            return next(followed, None)


class _Boxes:
    """Propagation by boxes: SAM 2 is prompted with the slightly widened box around the previous mask."""

    MARGIN = 2.0
    MIN_OVERLAP = 0.2
    MIN_QUALITY = 0.4

    def __init__(self, segmenter: TextSegmenter, count: int, image: SliceImage, objects: Objects) -> None:
        self._segmenter, self._image, self._objects = segmenter.without_images(), image, objects

    def follow(self, start: int, beyond: int, context: RunContext) -> Iterator[PropagatedMasks]:
        checkpoints = context.checkpoints
        masks = {name: masks[start] for name, masks in self._objects.items()}
        for k in _slices_between(start, beyond):
            done = checkpoints.load(f"{k}") if checkpoints else None
            masks = dict(zip(masks, done["masks"])) if done else self._next(k, masks, context)
            if checkpoints and not done:
                checkpoints.store(f"{k}", {"masks": np.stack(list(masks.values()))})
            yield k, masks

    def _next(self, k: int, before: Mapping[str, np.ndarray], context: RunContext) -> dict[str, np.ndarray]:
        """Predict the masks on slice k from those on the previous slice; empty if SAM 2 finds something else."""
        self._segmenter.set_image(self._image(k))
        masks = {name: np.zeros_like(mask) for name, mask in before.items()}
        for name, mask in before.items():
            if not mask.any():
                continue
            box = SamPrompts(mask_box(mask, None, self.MARGIN)[None])
            found, quality = self._segmenter.predict_mask(box, context=context.without_progress())
            overlap = (found & mask).sum() / max(1, (found | mask).sum())
            if overlap >= self.MIN_OVERLAP and quality.mean() >= self.MIN_QUALITY:
                masks[name] = found
        return masks
