"""Requests on a whole stack of slices: masks carried from some of them, and prompts that find their own key slices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..zeroshot.carry import CarrySettings, carry
from ..zeroshot.key_slices import presence_profile
from ..zeroshot.propagate import PropagateSettings, propagate
from ..zeroshot.segmenter import TextSegmenter
from ..zeroshot.volume import provenance
from .protocol import Message

if TYPE_CHECKING:
    from .engine import Reply

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


def carry_masks(segmenter: TextSegmenter, stack: np.ndarray, message: Message, reply: Reply) -> Answer:
    """Answer "carry": a part for each slice that a mask has been carried to.

    Fields: slices (the given ones), reach (slices beyond the outermost of them, or None), method. Arrays: masks, uint8
    (M, H, W), one for each of these slices.
    """
    started = time.perf_counter()
    numbers, masks = message.fields.get("slices"), message.arrays.get("masks")
    fits = isinstance(numbers, list) and all(type(k) is int and 0 <= k < len(stack) for k in numbers)
    if not fits or not numbers or masks is None or masks.shape != (len(numbers), *stack.shape[1:3]):
        came = "nothing" if masks is None else f"{masks.shape}"
        raise InputError(
            f"Slices {numbers!r} and masks {came} came.",
            f"Give numbers from 0 to {len(stack) - 1} and a mask of {stack.shape[1:3]} for each.",
        )
    reach = message.fields.get("reach")
    if reach is not None and (type(reach) is not int or reach < 1):
        raise InputError(f"As reach {reach!r} came.", "Give a number of slices, or nothing.")
    given = {k: mask > 0 for k, mask in zip(numbers, masks)}
    settings = CarrySettings(method=str(message.fields.get("method", "memory")))
    carried = 0
    for k, found in carry(segmenter, len(stack), stack.__getitem__, {"": given}, settings, reach):
        carried += 1
        reply.send("part", {"slice": k}, {"mask": found[""].astype(np.uint8)})
        reply.send("progress", {"stage": "carry", "fraction": carried / len(stack), "slice": k})
    return {"device": str(segmenter.clip.device), "seconds": time.perf_counter() - started}, {}


def propagate_prompts(
    segmenter: TextSegmenter,
    stack: np.ndarray,
    prompts: list[str],
    negative: str | None,
    message: Message,
    reply: Reply,
) -> Answer:
    """Answer "propagate": a part for each prompt and slice on which something was found or looked for.

    Fields: prompts, negative, method, settings (those of the segmenter, set already).
    """
    started = time.perf_counter()
    settings = PropagateSettings(CarrySettings(method=str(message.fields.get("method", "memory"))))

    def tell(fraction: float, stage: str, prompt: str | None = None) -> None:
        reply.send("progress", {"stage": stage, "fraction": fraction, "slice": None, "prompt": prompt})

    picture = stack.__getitem__
    profiles = presence_profile(
        segmenter, picture, len(stack), prompts, negative, lambda fraction: tell(0.3 * fraction, "presence")
    )
    for index, (prompt, profile) in enumerate(zip(prompts, profiles)):
        share = 0.7 / len(prompts)
        follow = lambda fraction, _text: tell(0.3 + share * (index + fraction), "carry", prompt)
        found = propagate(segmenter, len(stack), picture, prompt, profile, negative, settings, follow)
        for k, each in sorted(found.items()):
            boxes = each.sam_prompts.boxes if each.sam_prompts else np.zeros((0, 4), np.float32)
            fields = {
                "prompt": prompt,
                "slice": k,
                "found": each.found,
                "score": each.score,
                "message": each.message,
                "presence": {"probability": float(profile[k])},
            }
            reply.send("part", fields, {"mask": each.mask.astype(np.uint8), "boxes": boxes})
    tags = provenance(segmenter, negative=negative, strategy=settings.carry.method)
    return {"device": str(segmenter.clip.device), "tags": tags, "seconds": time.perf_counter() - started}, {}
