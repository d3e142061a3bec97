"""Time of SAM 2 to embed an image, which is done once, and of each prompt on it, which takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ...models.sam import Sam2
from ...models.sam_image_batch import SamImageBatch
from ...run_context import RunContext
from .full_size import sam21, sam_vit_h
from .interleaved import VariantTimes, interleaved, synchronize

SIZES = ("tiny", "small", "base-plus", "large")
BOX_ROUNDS = 10
BOX = np.array([300.0, 300.0, 700.0, 700.0])


@dataclass(frozen=True)
class OutlineCost:
    """Costs of one SAM at one image size.

    Args:
        name, pixels: the model and its image size.
        times: times of embedding an image in "f32" and, if the model supports it, "bf16".
        box_ms: milliseconds for one box on an embedded image, the median of `BOX_ROUNDS`.
    """

    name: str
    pixels: int
    times: VariantTimes
    box_ms: float


def measure_outlines(rounds: int, device: torch.device, context: RunContext) -> list[OutlineCost]:
    """Measure SAM 2.1 of every size at 1024 and 512 px, and the authors' ViT-H if it is installed."""
    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    costs = []
    for size in SIZES:
        for pixels in (1024, 512):
            sam = sam21(size, pixels, device)
            images = SamImageBatch(sam)

            def embed(bfloat16: bool, sam: Sam2 = sam, images: SamImageBatch = images) -> None:
                sam.bfloat16 = bfloat16
                images.set(image[None])
                images.embed([0])
                synchronize(device)

            times, _ = interleaved({"f32": lambda: embed(False), "bf16": lambda: embed(True)}, rounds)
            box = lambda images=images: images.masks([0], BOX[None])
            costs.append(OutlineCost(sam.name, pixels, times, _milliseconds(box)))
            context.notify(
                f"{sam.name} at {pixels} px: {times.median('f32'):.2f} s f32, {times.median('bf16'):.2f} s bf16"
            )
    predictor = sam_vit_h(device)
    if predictor is not None:

        def embed_h() -> None:
            predictor.set_image(image)
            synchronize(device)

        times, _ = interleaved({"f32": embed_h}, max(1, rounds // 2))
        decode = lambda: predictor.predict(box=BOX, multimask_output=False)
        costs.append(OutlineCost("SAM ViT-H (the authors')", 1024, times, _milliseconds(decode)))
        context.notify(f"SAM ViT-H: {times.median('f32'):.2f} s")
    return costs


def _milliseconds(call: Callable[[], object]) -> float:
    return 1000 * interleaved({"box": call}, BOX_ROUNDS)[0].median("box")
