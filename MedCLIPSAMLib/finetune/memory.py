"""Measure the free memory of a device and the memory that a function takes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import torch

from ..models.acceleration.memory import release


class CudaMemory:
    """The memory of a GPU in bytes, as counted by torch's allocator."""

    SHARE = 0.85
    """Share of the free memory to use; the rest is for fragmentation and longer captions than those measured."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """Return the sum of the driver's free memory and torch's unused memory, less a margin."""
        held = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(self.SHARE * (torch.cuda.mem_get_info(self._device)[0] + held))

    def measure(self, work: Callable[[], None]) -> int:
        """Run `work` and return by how much its peak memory exceeds the memory in use before."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        return torch.cuda.max_memory_allocated(self._device) - before

    def peak(self) -> int:
        """Return the peak memory since the last `restart`."""
        return torch.cuda.max_memory_allocated(self._device)

    def restart(self) -> None:
        """Empty the allocator's cache and reset the peak."""
        release()
        torch.cuda.reset_peak_memory_stats(self._device)


class SharedMemory:
    """The computer's memory, used by a CPU or an Apple GPU, for which torch has no counter.

    The memory of a function is measured by the activations that autograd keeps. They are most of what grows with the
    number of pairs: 161 of 195 MiB per pair at BiomedCLIP's size in float32.
    """

    SHARE = 0.5
    """Share of the available memory to use; other programs need memory, and a process that takes too much is killed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """Return a share of the system's available memory, divided among the processes that torchrun started."""
        import psutil  # from an extra

        return int(self.SHARE * psutil.virtual_memory().available) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    def measure(self, work: Callable[[], None]) -> int:
        """Run `work` and return the bytes of the storages that it keeps for the backward pass."""
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work()
        return sum(kept.values())

    def peak(self) -> int:
        """Return the peak memory of this process, including Python and its packages."""
        if sys.platform == "win32":
            import psutil

            return psutil.Process().memory_info().peak_wset
        import resource

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest << 10

    def restart(self) -> None:
        """Free unused memory; the system's peak cannot be reset."""
        release()


MemoryReader = CudaMemory | SharedMemory


def make_memory_reader(device: torch.device) -> MemoryReader:
    """Return a reader of a device's memory."""
    return CudaMemory(device) if device.type == "cuda" else SharedMemory(device)
