"""What a GPU does in a batch and from recordings: saliency, a whole picture, a stack of slices."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...choices import ComponentRule
from ...models.acceleration.captures import Captures
from ...run_context import RunContext
from ...segmentation.components import ComponentSettings
from ...segmentation.saliency import M2IBSettings, m2ib
from ...segmentation.segmenter import TOGETHER, TextSegmenter
from ...segmentation.settings import Settings
from .full_size import PROMPT, biomedclip, sam21
from .interleaved import Times, interleaved
from .saliency import difference, waited

SLICES = 64


@dataclass(frozen=True)
class GpuCost:
    """Of models of full size, SAM 2.1 tiny, block 9.

    Args:
        saliency: of a map from the picture on, by precision, plain and recorded; the text is encoded.
        apart: largest and mean difference of the recorded map to the plain one, by precision, both scaled to 0..1.
        whole: seconds of a picture of 1024 x 1024 from text to mask, by round.
        whole_mib: the most memory of the GPU that torch held for it; None on a CPU.
        slices: of `SLICES` pictures of 512 x 512 with SAM 2 at 512 px, one by one and together.
    """

    saliency: Times
    apart: dict[str, tuple[float, float]]
    whole: list[float]
    whole_mib: float | None
    slices: Times


def gpu_cost(rounds: int, device: torch.device, context: RunContext) -> GpuCost:
    """Measure all of it."""
    saliency, apart = _saliency(rounds, device, context)
    whole, mib = _whole(rounds, device)
    context.notify(f"a picture {statistics.median(whole):.3f} s")
    return GpuCost(saliency, apart, whole, mib, _slices(rounds, device, context))


def _saliency(rounds: int, device: torch.device, context: RunContext) -> tuple[Times, dict[str, tuple[float, float]]]:
    clip = biomedclip(device)
    picture = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), dtype=np.uint8)
    text, settings, captures = clip.encode_text([PROMPT]), M2IBSettings(), Captures()

    def call(bfloat16: bool, recorded: bool) -> Callable[[], torch.Tensor]:
        used = captures if recorded and device.type == "cuda" else None
        search = lambda: m2ib(clip, clip.preprocess(picture), text, settings, bfloat16=bfloat16, captures=used)
        return lambda: waited(search().maps[0, 0])

    ways = {"f32": False, "bf16": True}
    calls = {f"{name}, {how}": call(ways[name], how == "recorded") for name in ways for how in ("plain", "recorded")}
    for warm in list(calls.values()) * 2:  # recorded at the second call
        warm()
    times, maps = interleaved(calls, rounds, context=context)
    return times, {name: difference(maps[f"{name}, recorded"], maps[f"{name}, plain"]) for name in ways}


def _whole(rounds: int, device: torch.device) -> tuple[list[float], float | None]:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    segmenter = _segmenter(1024, device)
    picture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    seconds = []
    for _ in range(rounds + 2):  # recorded at the second call
        started = time.perf_counter()
        segmenter.set_image(picture)
        segmenter.segment(PROMPT)
        seconds.append(time.perf_counter() - started)
    mib = torch.cuda.max_memory_reserved(device) / 2**20 if device.type == "cuda" else None
    return seconds[2:], mib


def _slices(rounds: int, device: torch.device, context: RunContext) -> Times:
    segmenter = _segmenter(512, device)
    pictures = np.random.default_rng(0).integers(0, 256, (SLICES, 512, 512, 3), dtype=np.uint8)

    def in_parts(size: int) -> None:
        for start in range(0, SLICES, size):
            segmenter.set_images(list(pictures[start : start + size]))
            segmenter.segment_each([PROMPT])

    ways = {f"{size} at once": lambda size=size: in_parts(size) for size in (1, TOGETHER)}
    return interleaved(ways, rounds, context=context)[0]


def _segmenter(pixels: int, device: torch.device) -> TextSegmenter:
    settings = Settings(M2IBSettings(), components=ComponentSettings(ComponentRule.AREA), presence_threshold=0.0)
    return TextSegmenter(biomedclip(device), sam21("tiny", pixels, device), settings)
