"""The number of pairs of a batch that go through the model at once; the gradients do not depend on it.

As many as fit into memory: on a GPU a few pairs take the time of many, since it waits for the launch of kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DeviceError
from ..models.acceleration.memory import is_out_of_memory
from ..run_context import RunContext
from .memory import MemoryReader

FEW, SOME = 2, 8
"""Pairs of the two trials; a batch of SOME or fewer is taken whole."""


class Chunks:
    """The size of a chunk, found at the first batch and halved where memory runs out all the same.

    Args:
        size: pairs at once; 0 finds it.
        memory: of the device.
        context: notified of the size.
        alone: no other process takes part, which would wait for what a repeated step has sent already.
    """

    def __init__(self, size: int, memory: MemoryReader, context: RunContext, alone: bool = True) -> None:
        self._fixed, self._size, self._alone = size > 0, size, alone
        self._memory, self._context = memory, context

    @property
    def size(self) -> int:
        """Pairs at once; 0 before it is found."""
        return self._size

    def go_on(self, size: int) -> None:
        """Take the size of the run that this one resumes, unless it was set by hand."""
        if not self._fixed:
            self._size = size

    def choose(self, batch: int, trial: Callable[[int], None], needed_later: Callable[[], int]) -> None:
        """Find the size for a batch, once.

        Args:
            trial: takes a number of pairs through the model and back; the gradients stay allocated.
            needed_later: returns the bytes that a step needs besides the model, its gradients and activations.
        """
        if self._size:
            return
        self._size = batch
        if batch <= SOME:
            return
        try:
            found = self._fitting(batch, trial, needed_later())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            found = FEW
        self._memory.restart()
        self._size = _even(found, batch)

    def run(self, batch: int, work: Callable[[int], float]) -> float:
        """Return `work` of the size of a chunk; again with half of it when memory runs out.

        Not where it was set by hand, nor with several processes.

        Raises:
            DeviceError: memory is full and cannot be saved this way.
        """
        while True:
            size = self._size
            try:
                return work(size)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._fixed or not self._alone or size == 1:
                    raise full_memory(size) from error
            self._size = _even(size // 2, batch)
            self._memory.restart()
            self._context.notify(f"Memory ran out with {size} pairs at once: going on with {self._size}.")

    def _fitting(self, batch: int, trial: Callable[[int], None], needed_later: int) -> int:
        """Return the number of pairs that fit, by a linear fit to the memory of two numbers of pairs."""
        trial(FEW)  # from here on gradients, and what libraries allocate once, are there
        few, some = (self._memory.measure(lambda pairs=pairs: trial(pairs)) for pairs in (FEW, SOME))  # type: ignore[misc]
        pair = max(1, (some - few) // (SOME - FEW))
        left = self._memory.free() - needed_later - max(0, few - FEW * pair)
        fits = min(batch, max(1, left // pair))
        self._context.notify(
            f"{_even(fits, batch)} of the {batch} pairs of a batch at once: a pair takes "
            f"{max(1, round(pair / 2**20))} MiB, and {max(0, left) / 2**30:.1f} GiB may be taken."
        )
        return fits


def full_memory(size: int) -> DeviceError:
    """Return the error that memory is full with `size` pairs at once."""
    return DeviceError(
        f"The memory of the device is full with {size} pairs at once.",
        "Take fewer at once by a smaller chunk size, which changes nothing else, or LoRA of rank 8.",
    )


def _even(size: int, batch: int) -> int:
    """Return the size of equal chunks that are no more than those of `size`, so that none is left nearly empty."""
    return -(-batch // -(-batch // size))
