"""Measure the cost of propagating a mask through a large stack: seconds per slice, by part of the model, and memory.

    python Testing/benchmarks/stack_cost.py [--sam sam2.1-tiny] [--image-size 512] [--precision bf16] [--slices 400]

SAM 2.1 has its full size and random weights, as the cost does not depend on the weights. The stack is a volume in
memory, as in a run on a file; only the last mask is kept. SAM 2's parts are timed by hooks, so their seconds are valid
only on a CPU.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import SimpleITK as sitk
import torch

from MedCLIPSAMLib.models.acceleration.linear import with_fast_linear
from MedCLIPSAMLib.models.catalogue import find
from MedCLIPSAMLib.models.sam import build_sam
from MedCLIPSAMLib.propagation.slice_memory import SliceMemory
from MedCLIPSAMLib.volumes import SliceStack, Volume


def memory() -> str:
    """Describe the current and the peak memory of this process in GiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{psutil.Process().memory_info().rss / 2**30:.2f} GiB, {most:.2f} at most"


PARTS = {
    "image encoder": "image_encoder",
    "memory attention": "memory_attention",
    "mask decoder": "sam_mask_decoder",
    "memory encoder": "memory_encoder",
}
EVERY = 50
"""Number of slices between two log lines."""


def time_parts(sam: torch.nn.Module) -> Mapping[str, float]:
    """Start timing `PARTS`; the returned seconds of each keep adding up."""
    spent = dict.fromkeys(PARTS, 0.0)
    started: dict[str, float] = {}

    def before(name: str) -> Callable:
        return lambda *_: started.update({name: time.perf_counter()})

    def after(name: str) -> Callable:
        return lambda *_: spent.update({name: spent[name] + time.perf_counter() - started[name]})

    for name, attribute in PARTS.items():
        part = getattr(sam, attribute)
        part.register_forward_pre_hook(before(name))
        part.register_forward_hook(after(name))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sam", default="sam2.1-tiny")
    parser.add_argument("--slices", default="8,16,32")
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument(
        "--image-size", type=int, help="side in pixels to which SAM 2 scales a slice; its own by default"
    )
    parser.add_argument(
        "--precision",
        choices=("f32", "bf16"),
        default="f32",
        help="precision of SAM 2's image encoder and memory attention",
    )
    parser.add_argument("--stack", type=int, default=400, help="slices of the volume in memory")
    options = parser.parse_args()
    entry = find(options.sam, "sam")
    torch.manual_seed(0)
    size = {"image_size": options.image_size} if options.image_size else {}
    sam = build_sam(Path(str(files("sam2").joinpath(entry.config))), {**entry.options, **size}).requires_grad_(False)
    sam = with_fast_linear(sam)
    sam.bfloat16 = options.precision == "bf16"
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 400, (options.stack, options.size, options.size), np.int16)
    stack = SliceStack(Volume.from_sitk(sitk.GetImageFromArray(voxels)), "axial", (-1000.0, 400.0))
    del voxels
    print(
        f"{options.sam} at {sam.image_size} px, {options.precision}, "
        f"{options.size} x {options.size} x {options.stack} voxels, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )
    print(f"memory with the model and the volume: {memory()}")
    mask = np.zeros((options.size, options.size), bool)
    mask[100:200, 150:300] = True
    for count in map(int, options.slices.split(",")):
        follower = SliceMemory(sam, len(stack), stack.image, stack.image_shape)
        follower.give("object", 0, mask)
        spent = time_parts(sam)
        started, ticks = time.perf_counter(), []
        for k, _masks in follower.follow(0, count):
            ticks.append(time.perf_counter())
            if k % EVERY == 0:
                print(f"  slice {k}: {ticks[-1] - started:.0f} s, memory {memory()}", flush=True)
        seconds = np.diff([started, *ticks])
        late = seconds[len(seconds) // 2 :]
        shares = ", ".join(f"{name} {value / seconds.sum():.0%}" for name, value in spent.items())
        print(f"  {shares}")
        print(
            f"{count} slices: {seconds.sum():.0f} s, {np.median(seconds):.2f} s per slice "
            f"(second half {np.median(late):.2f}); memory {memory()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
