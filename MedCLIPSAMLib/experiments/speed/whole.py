"""An image from text to mask: time and peak memory of the authors' pipeline and of this one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...choices import CoarseMethod, ComponentRule, Precision, SamPromptKind
from ...run_context import RunContext
from ...segmentation.coarse import CoarseSettings, coarse_mask
from ...segmentation.components import ComponentSettings, components
from ...segmentation.saliency import M2IBSettings, normalize, upsample
from ...segmentation.sam_prompts import SamPromptSettings, make_sam_prompts
from ...segmentation.segmenter import TextSegmenter
from ...segmentation.settings import Settings
from .authors import authors_saliency
from .full_size import PROMPT, biomedclip, sam21, sam_vit_h
from .interleaved import VariantTimes, interleaved

AUTHORS, LARGE, TINY = "authors' (ViT-H)", "ours, SAM 2.1 large", "ours, SAM 2.1 tiny"


@dataclass(frozen=True)
class WholeCost:
    """Costs of an image of 1024 x 1024 pixels at block 9; without the authors' where segment_anything is missing.

    Args:
        times: by pipeline and precision, such as "ours, SAM 2.1 tiny, bf16".
        mib: peak memory of a separate process that did it once, with weights and libraries; None
            where the system does not tell (Linux and CUDA do).
    """

    times: VariantTimes
    mib: dict[str, float | None]


def whole_cost(rounds: int, device: torch.device, context: RunContext) -> WholeCost:
    """Measure every pipeline, taking turns; then each once more in a separate process for its memory."""
    calls = {name: call for name in names() if (call := pipeline(name, device)) is not None}
    times, _ = interleaved(calls, rounds, once=(AUTHORS,), context=context)
    originals = list(calls)
    calls.clear()
    return WholeCost(times, {name: _memory(name, device) for name in originals})


def names() -> list[str]:
    """List all pipelines, the authors' first."""
    return [AUTHORS, *(f"{sam}, {precision}" for sam in (LARGE, TINY) for precision in ("f32", "bf16"))]


def pipeline(name: str, device: torch.device) -> Callable[[], np.ndarray] | None:
    """Return the function of one of `names` on an image, with models loaded; None where they are not installed."""
    image = _make_image()
    if name == AUTHORS:
        predictor = sam_vit_h(device)
        return None if predictor is None else partial(_authors, biomedclip(device, fast=False), predictor, image)
    sam, precision = name.rsplit(", ", 1)
    settings = Settings(
        M2IBSettings(),
        components=ComponentSettings(ComponentRule.AREA),
        presence_threshold=0.0,
        precision=Precision(precision),
    )
    segmenter = TextSegmenter(biomedclip(device), sam21("large" if sam == LARGE else "tiny", 1024, device), settings)

    def ours() -> np.ndarray:
        segmenter.set_image(image)
        return segmenter.segment(PROMPT).mask

    return ours


def _authors(clip, predictor, image: np.ndarray) -> np.ndarray:
    """Run the authors' pipeline: ten whole passes for the map, k-means, the largest component, its box, ViT-H."""
    found = authors_saliency(clip, clip.preprocess(image[None]), clip.tokenize([PROMPT]), 9, 1.0)
    saliency = normalize(upsample(found[None, None], image.shape[:2]))[0, 0].cpu().numpy()
    labels = components(
        coarse_mask(saliency, CoarseSettings(CoarseMethod.KMEANS)), saliency, ComponentSettings(ComponentRule.AREA)
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
    """Return MiB: on a GPU torch's peak, else the process's; None where it cannot be told."""
    command = [sys.executable, "-m", __name__, name, str(device)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, cwd=Path(__file__).resolve().parents[3]
    )
    return json.loads(done.stdout.splitlines()[-1])["mib"]


def _main() -> None:
    name, device = sys.argv[1], torch.device(sys.argv[2])
    work = pipeline(name, device)
    if work is None:
        raise SystemExit(f"'{name}' is not installed.")
    work()
    if device.type == "cuda":
        mib: float | None = torch.cuda.max_memory_allocated(device) / 2**20
    else:
        status = Path("/proc/self/status")  # of Linux; getrusage counts the parent in
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii")) if status.is_file() else None
        mib = int(found[1]) / 2**10 if found else None
    print(json.dumps({"mib": mib}))


if __name__ == "__main__":
    _main()
