"""What a picture costs between the networks, on one thread of the CPU whatever the device is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...segmentation.coarse import CoarseSettings, coarse_mask
from ...segmentation.components import ComponentSettings, components
from ...segmentation.saliency import normalise, upsample
from ...segmentation.sam_prompts import PromptSettings, make_prompts
from ...segmentation.tidy import tidy


@dataclass(frozen=True)
class BetweenCost:
    """Milliseconds of each step for a square picture, the median of some.

    Args:
        pixels: its side.
        ms: by step.
    """

    pixels: int
    ms: dict[str, float]


def between_cost(pixels: int, rounds: int = 20) -> BetweenCost:
    """Measure a map of 14 x 14 patches with one object, a quarter of the picture wide."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        grid = torch.linspace(-1, 1, 14) ** 2
        noise = torch.rand(14, 14, generator=torch.Generator().manual_seed(0))
        low = torch.exp(-8 * (grid[:, None] + grid[None])) + 0.1 * noise
        ms: dict[str, list[float]] = {}

        def timed(step: str, call: Callable):
            started = time.perf_counter()
            made = call()
            ms.setdefault(step, []).append(1e3 * (time.perf_counter() - started))
            return made

        for _ in range(rounds):
            shape = (pixels, pixels)
            saliency = timed(
                "map to the picture's size", lambda: normalise(upsample(low[None, None], shape))[0, 0].numpy()
            )
            coarse = timed("cut in two", lambda: coarse_mask(saliency, CoarseSettings()))
            labels = timed("components", lambda: components(coarse, saliency, ComponentSettings()))
            timed("prompts", lambda: make_prompts(labels, PromptSettings()))
            mask: np.ndarray = labels == 1
            timed("mask tidied", lambda: tidy(mask, 0.05))
        return BetweenCost(pixels, {step: statistics.median(each) for step, each in ms.items()})
    finally:
        torch.set_num_threads(threads)
