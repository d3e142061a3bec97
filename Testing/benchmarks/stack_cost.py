"""What carrying a mask through a large stack costs: seconds a slice and memory, at growing numbers of slices.

    python Testing/benchmarks/stack_cost.py [--sam sam2.1-tiny] [--slices 8,16,32] [--size 512]

SAM 2.1 at its full size with random weights: the cost does not depend on what the weights are. The stack is a volume in
memory, as in a run on a file; no mask is kept but the last.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from MedCLIPSAMLib.models.catalogue import find
from MedCLIPSAMLib.models.sam import build_sam
from MedCLIPSAMLib.propagation.slice_memory import SliceMemory
from MedCLIPSAMLib.volumes import SliceStack, Volume


def memory(name: str) -> float:
    """GiB of this process by its name in /proc: VmRSS, VmHWM."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sam", default="sam2.1-tiny")
    parser.add_argument("--slices", default="8,16,32")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--stack", type=int, default=400, help="slices of the volume that lies in memory")
    options = parser.parse_args()
    entry = find(options.sam, "sam")
    torch.manual_seed(0)
    sam = build_sam(Path(str(files("sam2").joinpath(entry.config))), entry.options).requires_grad_(False)
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 400, (options.stack, options.size, options.size), np.int16)
    stack = SliceStack(Volume.from_sitk(sitk.GetImageFromArray(voxels)), "axial", (-1000.0, 400.0))
    del voxels
    print(
        f"{options.sam} at {sam.image_size} px, {options.size} x {options.size} x {options.stack} voxels, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )
    print(f"memory with the model and the volume: {memory('VmRSS'):.2f} GiB")
    mask = np.zeros((options.size, options.size), bool)
    mask[100:200, 150:300] = True
    for count in map(int, options.slices.split(",")):
        follower = SliceMemory(sam, len(stack), stack.image, stack.image_shape)
        follower.give("object", 0, mask)
        started, ticks = time.perf_counter(), []
        for _k, _masks in follower.follow(0, count):
            ticks.append(time.perf_counter())
        seconds = np.diff([started, *ticks])
        late = seconds[len(seconds) // 2 :]
        print(
            f"{count} slices: {seconds.sum():.0f} s, {np.median(seconds):.2f} s a slice "
            f"(second half {np.median(late):.2f}); memory {memory('VmRSS'):.2f} GiB, {memory('VmHWM'):.2f} at most",
            flush=True,
        )


if __name__ == "__main__":
    main()
