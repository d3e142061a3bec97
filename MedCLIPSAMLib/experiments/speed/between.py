"""Time that an image takes between the networks, on one CPU thread whatever the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from ...segmentation.coarse import CoarseSettings, make_coarse_mask
from ...segmentation.components import ComponentSettings, components, label_map_components
from ...segmentation.saliency_map import SaliencyMap
from ...segmentation.sam_prompts import SamPromptSettings, make_sam_prompts
from ...segmentation.tidy import tidy

MASK = 256
"""Side of SAM 2's masks in pixels, for images of 1024 px."""
ROUNDS = 50
Made = TypeVar("Made")
SHOWN, PLAIN = "map by pixel, on access", "all of it on all pixels"


@dataclass(frozen=True)
class BetweenCost:
    """Milliseconds of each step for a square image, the minimum of `ROUNDS`.

    Args:
        pixels: side of the image.
        ms: milliseconds by step; also of the plain computation, used by methods other than two-means and a threshold.
    """

    pixels: int
    ms: dict[str, float]

    @property
    def total(self) -> float:
        """Milliseconds of all the steps that every image needs."""
        return sum(ms for step, ms in self.ms.items() if step not in (SHOWN, PLAIN))


def measure_between(pixels: int) -> BetweenCost:
    """Measure with a map of 14 x 14 patches with one object, a quarter of the image wide, and a mask of its size."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ms: dict[str, float] = {}
        values = _values()
        for _ in range(ROUNDS):
            _time_round(ms, values, pixels)
        return BetweenCost(pixels, ms)
    finally:
        torch.set_num_threads(threads)


def _time_round(ms: dict[str, float], values: np.ndarray, pixels: int) -> None:
    fresh = SaliencyMap(values, (pixels, pixels))
    labels = _time(ms, "cut and components", lambda: label_map_components(fresh, CoarseSettings(), ComponentSettings()))
    _time(ms, "prompts", lambda: make_sam_prompts(labels, SamPromptSettings()))
    mask: np.ndarray = labels[:: -(-pixels // MASK), :: -(-pixels // MASK)] == 1
    _time(ms, "mask tidied", lambda: tidy(mask, 0.05))
    _time(ms, SHOWN, lambda: fresh.pixels)
    _time(ms, PLAIN, lambda: _on_all_pixels(values, pixels))


def _on_all_pixels(values: np.ndarray, pixels: int) -> np.ndarray:
    saliency = SaliencyMap(values, (pixels, pixels)).pixels
    labels = components(make_coarse_mask(saliency, CoarseSettings()), saliency, ComponentSettings())
    make_sam_prompts(labels, SamPromptSettings())
    return tidy(labels == 1, 0.05)


def _values() -> np.ndarray:
    grid = torch.linspace(-1, 1, 14) ** 2
    noise = torch.rand(14, 14, generator=torch.Generator().manual_seed(0))
    return (torch.exp(-8 * (grid[:, None] + grid[None])) + 0.1 * noise).numpy()


def _time(ms: dict[str, float], step: str, call: Callable[[], Made]) -> Made:
    started = time.perf_counter()
    made = call()
    ms[step] = min(ms.get(step, np.inf), 1e3 * (time.perf_counter() - started))
    return made
