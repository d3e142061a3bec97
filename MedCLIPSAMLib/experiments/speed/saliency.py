"""Time of a saliency map of a full-size model: the authors' loop and this engine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from ...models.acceleration.linear import OneDnnLinear
from ...run_context import RunContext
from ...segmentation.saliency import M2IBSettings, m2ib, normalize
from .authors import COPIES, STEPS, authors_saliency
from .full_size import PROMPT, biomedclip
from .interleaved import VariantTimes, interleaved, synchronize

TRIES = 10
"""Number of timed matrix products."""
AUTHORS, F32, BF16 = "authors' loop", "ours, f32", "ours, bf16"


@dataclass(frozen=True)
class SaliencyCost:
    """Costs of a map at one block.

    Args:
        layer: the block, counted from 0.
        times: times of `AUTHORS`, `F32` and `BF16`.
        gflop: counted GFLOP of a map.
        apart: largest and mean difference to the authors' map with the same noise, with both maps scaled to 0..1.
        other_seed: the same differences between the authors' maps with different noise.
    """

    layer: int
    times: VariantTimes
    gflop: dict[str, float]
    apart: dict[str, tuple[float, float]]
    other_seed: tuple[float, float]


@dataclass(frozen=True)
class PeakThroughput:
    """GFLOP/s of large matrix products, the best of several, measured in the same run as the maps."""

    f32: float
    bf16: float


def measure_saliency(layer: int, rounds: int, device: torch.device, context: RunContext) -> SaliencyCost:
    """Measure saliency maps at a block; the authors' loop takes minutes on a CPU."""
    clip, theirs = biomedclip(device), biomedclip(device, fast=False)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device)
    settings = M2IBSettings(layer, beta=1.0)
    tokens = clip.tokenize([PROMPT])

    def authors(seed: int = settings.seed) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noises = [torch.randn(COPIES, 197, 768, generator=generator).to(device) for _ in range(STEPS)]
        return wait_for_device(authors_saliency(theirs, pixels, tokens, layer, settings.beta, noises))

    def ours(bfloat16: bool) -> torch.Tensor:
        return wait_for_device(m2ib(clip, pixels, clip.encode_text([PROMPT]), settings, bfloat16=bfloat16).maps[0, 0])

    variants = {AUTHORS: authors, F32: lambda: ours(False), BF16: lambda: ours(True)}
    times, maps = interleaved(variants, rounds, once=(AUTHORS,) if device.type == "cpu" else (), context=context)
    gflop = {}
    one_step = lambda: authors_saliency(theirs, pixels, tokens, layer, settings.beta, steps=1)
    for name, call, share in ((AUTHORS, one_step, STEPS), (F32, variants[F32], 1), (BF16, variants[BF16], 1)):
        with FlopCounterMode(display=False) as counter:
            call()
        gflop[name] = share * counter.get_total_flops() / 1e9
    apart = {name: difference(maps[name], maps[AUTHORS]) for name in (F32, BF16)}
    exact = replace(settings, seed=settings.seed + 1)
    other = m2ib(clip, pixels, clip.encode_text([PROMPT]), exact).maps[0, 0]
    return SaliencyCost(layer, times, gflop, apart, difference(other, maps[AUTHORS]))


def measure_matmul_peak(device: torch.device) -> PeakThroughput:
    """Time the best of several products of square matrices; on a CPU, f32 is tried with both of torch's libraries."""
    size = 2048 if device.type == "cpu" else 8192  # on a GPU, launching a small one takes longer than computing it

    def best(layer: torch.nn.Linear, dtype: torch.dtype) -> float:
        layer, matrix = layer.requires_grad_(False).to(device, dtype), torch.randn(size, size).to(device, dtype)
        times, _ = interleaved({"product": lambda: wait_for_device(layer(matrix))}, TRIES)
        return 2 * size**3 / min(times.seconds["product"]) / 1e9

    plain, own = torch.nn.Linear(size, size), OneDnnLinear(size, size)
    return PeakThroughput(max(best(way, torch.float32) for way in (plain, own)), best(plain, torch.bfloat16))


def wait_for_device(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor after synchronizing the GPU."""
    synchronize(tensor.device)
    return tensor


def difference(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    """Return the largest and mean difference of two maps scaled to 0..1."""
    apart = (normalize(first) - normalize(second)).abs()
    return apart.max().item(), apart.mean().item()
