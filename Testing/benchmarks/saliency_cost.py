"""Seconds for a saliency map at the size of BiomedCLIP's ViT-B/16: our M2IB against the plain one of the tests.

    OMP_NUM_THREADS=1 .venv/bin/python Testing/benchmarks/saliency_cost.py --rounds 5

Weights are random: time does not depend on them. Every round times each variant once, so that other load on the machine
falls on all alike; ratios are medians of the ratios within rounds. The plain form has its parameters frozen
and gets the text's features as they are: the authors' code, which has neither, is slower still.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Python")]

from reference_m2ib import reference_m2ib  # noqa: E402

from MedCLIPSAMLib.zeroshot.saliency import M2IBSettings, m2ib, normalise  # noqa: E402

VARIANTS = {
    "plain": ("f32", "highest"),
    "f32": ("f32", "highest"),
    "f32, oneDNN": ("f32", "medium"),
    "bf16": ("bf16", "highest"),
}
"""Name -> precision of M2IB, torch's float32 matmul precision."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layer", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()

    torch.manual_seed(0)
    visual = TimmModel("vit_base_patch16_224", embed_dim=512, image_size=224, pool="", proj="linear")
    clip = SimpleNamespace(model=SimpleNamespace(visual=visual.eval().requires_grad_(False), encode_image=visual))
    pixels, texts = torch.randn(1, 3, 224, 224), F.normalize(torch.randn(1, 512), dim=-1)
    settings = {name: M2IBSettings(options.layer, steps=options.steps, precision=name) for name in ("f32", "bf16")}
    generator = torch.Generator().manual_seed(settings["f32"].seed)
    noises = [torch.randn(10, 197, 768, generator=generator) for _ in range(options.steps)]

    def one_map(name: str) -> torch.Tensor:
        precision, matmul = VARIANTS[name]
        torch.set_float32_matmul_precision(matmul)
        if name == "plain":
            return reference_m2ib(clip.model, pixels, texts[0], options.layer, 1.0, options.steps, 10, 1.0, noises)[0]
        return m2ib(clip, pixels, texts, settings[precision]).maps[0, 0]

    for name in list(VARIANTS)[1:]:  # once untimed: kernels are chosen at the first call
        one_map(name)
    seconds, maps = {name: [] for name in VARIANTS}, {}
    for index in range(options.rounds):
        for name in VARIANTS:
            started = time.perf_counter()
            maps[name] = one_map(name)
            seconds[name].append(time.perf_counter() - started)
        print(f"round {index + 1}:", {name: round(times[-1], 2) for name, times in seconds.items()}, flush=True)

    torch.set_float32_matmul_precision("highest")
    other_seed = m2ib(clip, pixels, texts, replace(settings["f32"], seed=13)).maps[0, 0]
    print(f"\n{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s), ", end="")
    print(f"layer {options.layer}, {options.steps} steps")
    print("| variant | seconds a map (median) | times faster (median; range) | map difference: largest, mean |")
    print("|---|---|---|---|")
    for name, times in seconds.items():
        ratios = [plain / own for plain, own in zip(seconds["plain"], times)]
        spread = f"{statistics.median(ratios):.1f}; {min(ratios):.1f} to {max(ratios):.1f}"
        print(f"| {name} | {statistics.median(times):.2f} | {spread} | {difference(maps[name], maps['plain'])} |")
    print(f"| another noise seed | | | {difference(other_seed, maps['plain'])} |")


def difference(first: torch.Tensor, second: torch.Tensor) -> str:
    """Largest and mean difference of two maps scaled to 0..1."""
    apart = (normalise(first) - normalise(second)).abs()
    return f"{apart.max().item():.1e}, {apart.mean().item():.1e}"


if __name__ == "__main__":
    main()
