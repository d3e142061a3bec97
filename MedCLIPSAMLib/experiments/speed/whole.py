"""Time and peak memory of the authors' pipeline and of this one, for an image from text to mask."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...choices import CoarseMethod, ComponentRule, Precision, SamPromptKind
from ...models.clip import ClipModel
from ...run_context import RunContext
from ...segmentation.coarse import CoarseSettings, make_coarse_mask
from ...segmentation.components import ComponentSettings, components
from ...segmentation.saliency import normalize, upsample
from ...segmentation.sam_prompts import SamPromptSettings, make_sam_prompts
from .authors import authors_saliency
from .full_size import PROMPT, biomedclip, sam21, sam_vit_h, segmenter
from .interleaved import VariantTimes, interleaved

AUTHORS, LARGE, TINY = "authors' (ViT-H)", "ours, SAM 2.1 large", "ours, SAM 2.1 tiny"


@dataclass(frozen=True)
class WholeCost:
    """Costs of an image of 1024 x 1024 pixels at block 9; without the authors' pipeline if segment_anything is missing.

    Args:
        times: times by pipeline and precision, such as "ours, SAM 2.1 tiny, bf16".
        mib: peak memory in MiB of a separate process that ran the pipeline once, with weights and libraries; None if it
            cannot be measured (it can on Linux and with CUDA).
    """

    times: VariantTimes
    mib: dict[str, float | None]


def measure_whole(rounds: int, device: torch.device, context: RunContext) -> WholeCost:
    """Measure the time of all pipelines in turns; then run each once in a separate process to measure its memory."""
    calls = {name: call for name in names() if (call := pipeline(name, device)) is not None}
    times, _ = interleaved(calls, rounds, once=(AUTHORS,), context=context)
    originals = list(calls)
    calls.clear()
    mib = {}
    for name in originals:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            mib[name] = pool.submit(_memory, name, device).result()
    return WholeCost(times, mib)


def names() -> list[str]:
    """Return the names of all pipelines, the authors' first."""
    return [AUTHORS, *(f"{sam}, {precision}" for sam in (LARGE, TINY) for precision in ("f32", "bf16"))]


def pipeline(name: str, device: torch.device) -> Callable[[], np.ndarray] | None:
    """Load the models of one of `names` and return its function on an image; None if they are not installed."""
    image = _make_image()
    if name == AUTHORS:
        predictor = sam_vit_h(device)
        return None if predictor is None else partial(_authors, biomedclip(device, fast=False), predictor, image)
    sam, precision = name.rsplit(", ", 1)
    sized = sam21("large" if sam == LARGE else "tiny", 1024, device)
    made = segmenter(biomedclip(device), sized, precision=Precision(precision))

    def ours() -> np.ndarray:
        made.set_image(image)
        return made.segment(PROMPT).mask

    return ours


def _authors(clip: ClipModel, predictor: Any, image: np.ndarray) -> np.ndarray:
    """Run the authors' pipeline: ten full passes for the map, k-means, the largest component, its box, and ViT-H."""
    found = authors_saliency(clip, clip.preprocess(image[None]), clip.tokenize([PROMPT]), 9, 1.0)
    saliency = normalize(upsample(found[None, None], image.shape[:2]))[0, 0].cpu().numpy()
    labels = components(
        make_coarse_mask(saliency, CoarseSettings(CoarseMethod.KMEANS)), saliency, ComponentSettings(ComponentRule.AREA)
    )
    sam_prompts = make_sam_prompts(labels, replace(SamPromptSettings(), kind=SamPromptKind.BOXES))
    predictor.set_image(image)
    return predictor.predict(box=sam_prompts.boxes[0], multimask_output=False)[0][0]


def _make_image() -> np.ndarray:
    gray = np.random.default_rng(0).normal(90, 20, (1024, 1024))
    rows, columns = np.ogrid[:1024, :1024]
    gray[(rows - 600) ** 2 + (columns - 400) ** 2 < 120**2] += 80
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _memory(name: str, device: torch.device) -> float | None:
    """Run a pipeline once; return its peak memory in MiB: torch's on a GPU, else the process's; None if unknown."""
    work = pipeline(name, device)
    assert work is not None  # it was timed before
    work()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")  # Linux only; getrusage includes the parent process
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii")) if status.is_file() else None
    return int(found[1]) / 2**10 if found else None
