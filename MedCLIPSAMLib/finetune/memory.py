"""How much memory a device has left, and how much some work takes of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Protocol

import psutil
import torch

from ..models.acceleration.memory import release


class MemoryReader(Protocol):
    """What is asked of a device's memory; bytes."""

    def free(self) -> int:
        """Return what may be taken, less a margin."""

    def measure(self, work: Callable[[], None]) -> int:
        """Do `work` and return what it takes at its most, beside what was taken before."""

    def peak(self) -> int:
        """Return what this process has taken at its most: on a GPU since `restart`."""

    def restart(self) -> None:
        """Give back what is not used, and forget the peak so far."""


def memory_of(device: torch.device) -> MemoryReader:
    """Return the reader of a device."""
    return CudaMemory(device) if device.type == "cuda" else SharedMemory(device)


class CudaMemory:
    """A GPU's memory as torch's allocator counts it."""

    SHARE = 0.85
    """The rest is left to fragments and to captions that are longer than those measured."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """Return what the driver has, and what torch holds and does not use."""
        held = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return int(self.SHARE * (torch.cuda.mem_get_info(self._device)[0] + held))

    def measure(self, work: Callable[[], None]) -> int:
        """Measure by the allocator's peak."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        work()
        return torch.cuda.max_memory_allocated(self._device) - before

    def peak(self) -> int:
        """Return the allocator's peak."""
        return torch.cuda.max_memory_allocated(self._device)

    def restart(self) -> None:
        """Empty the allocator's cache and reset its peak."""
        release()
        torch.cuda.reset_peak_memory_stats(self._device)


class SharedMemory:
    """The computer's memory, of a CPU or an Apple GPU, which have no counter of their own.

    What work takes is the activations that autograd keeps of it: most of what grows with the number of pairs, 161 of
    195 MiB a pair at BiomedCLIP's size in float32.
    """

    SHARE = 0.5
    """Other programs need memory too, and a process that takes too much is killed without a word."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def free(self) -> int:
        """Return a share of what the system calls available, of which each process that torchrun started has a part."""
        return int(self.SHARE * psutil.virtual_memory().available) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))

    def measure(self, work: Callable[[], None]) -> int:
        """Add up the storages that are kept for the backward pass."""
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            work()
        return sum(kept.values())

    def peak(self) -> int:
        """Return the most that this process has had in memory, with Python and its packages."""
        if sys.platform == "win32":
            return psutil.Process().memory_info().peak_wset
        import resource

        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return highest if sys.platform == "darwin" else highest << 10

    def restart(self) -> None:
        """Give back what is not used; the system keeps its own peak."""
        release()
