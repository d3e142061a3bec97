"""Times that a user waits: for further prompts on an image, and for a stack of slices."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from ...run_context import RunContext
from .full_size import PROMPT, biomedclip, sam21, segmenter

SLICES, PROMPTS = 64, 8


@dataclass(frozen=True)
class WaitingTimes:
    """Waiting times in seconds.

    Args:
        first, second: a prompt on a new image, and another one on the same image; by round.
        eight: eight prompts on one new image.
        slices: one prompt on 64 new images of 512 x 512.
    """

    first: list[float]
    second: list[float]
    eight: float
    slices: float


def waiting(rounds: int, device: torch.device, context: RunContext) -> WaitingTimes:
    """Measure full-size models with random weights (SAM 2.1 tiny, 1024 px)."""
    made = segmenter(biomedclip(device), sam21("tiny", 1024, device))
    words = PROMPT.split()
    prompts = [" ".join(words[-length:]) for length in range(2, 2 + PROMPTS)]
    images = np.random.default_rng(0).integers(0, 256, (SLICES, 512, 512, 3), dtype=np.uint8)

    def seconds(image: np.ndarray | None, *texts: str) -> float:
        started = time.perf_counter()
        if image is not None:
            made.set_image(image)
        for text in texts:
            made.segment(text)
        return time.perf_counter() - started

    seconds(images[0], *prompts)
    first, second = [], []
    for number in range(rounds):
        first.append(seconds(images[number % SLICES], prompts[0]))
        second.append(seconds(None, prompts[1]))
    context.notify(f"a prompt {first[-1]:.2f} s, a second one {second[-1]:.2f} s")
    eight = seconds(images[0], *prompts)
    context.notify(f"{PROMPTS} prompts {eight:.1f} s")
    slices = sum(seconds(image, prompts[0]) for image in images)
    context.notify(f"{SLICES} slices {slices:.1f} s")
    return WaitingTimes(first, second, eight, slices)
