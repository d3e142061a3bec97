"""Choose how many pairs of a batch go through the model at once, which does not change the gradients.

As many as fit into memory are taken. On a GPU, a few pairs take as long as many, since it waits for kernel launches.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DeviceError
from ..models.acceleration.memory import is_out_of_memory
from ..run_context import RunContext
from .memory import MemoryReader

FEW, SOME = 2, 8
"""Numbers of pairs in the two trials; a batch of at most SOME pairs is not divided."""


class Chunks:
    """The size of a chunk, which is found at the first batch and halved if memory runs out nevertheless.

    Args:
        size: number of pairs at once; 0 finds it automatically.
        memory: reader of the device's memory.
        context: notified of the size.
        alone: whether this is the only process. With others, a step cannot be repeated with a smaller size, since
            they would wait for what it has already sent.
    """

    def __init__(self, size: int, memory: MemoryReader, context: RunContext, alone: bool = True) -> None:
        self._fixed, self._size, self._alone = size > 0, size, alone
        self._memory, self._context = memory, context

    @property
    def size(self) -> int:
        """The number of pairs at once; 0 before it is found."""
        return self._size

    def go_on(self, size: int) -> None:
        """Take over the size of the run that this one resumes, unless the user set a size."""
        if not self._fixed:
            self._size = size

    def choose(self, batch: int, trial: Callable[[int], None], needed_later: Callable[[], int]) -> None:
        """Find the size for a batch, if it has not been found yet.

        Args:
            batch: number of pairs in the batch.
            trial: runs a given number of pairs through the model forward and backward, and keeps the gradients.
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
        """Call `work` with the size of a chunk and return its result; retry with half the size if memory runs out.

        There is no retry if the user set the size or if there are several processes.

        Raises:
            DeviceError: memory is full and there is no retry, or the size is 1.
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
            self._context.notify(f"Memory ran out with {size} pairs at once: continuing with {self._size}.")

    def _fitting(self, batch: int, trial: Callable[[int], None], needed_later: int) -> int:
        """Return the number of pairs that fit, extrapolated linearly from the memory of two trials."""
        trial(FEW)  # allocates the gradients, and what libraries allocate once
        few, some = (self._memory.measure(lambda pairs=pairs: trial(pairs)) for pairs in (FEW, SOME))  # type: ignore[misc]
        pair_bytes = max(1, (some - few) // (SOME - FEW))
        left = self._memory.free() - needed_later - max(0, few - FEW * pair_bytes)
        fits = min(batch, max(1, left // pair_bytes))
        self._context.notify(
            f"Processing {_even(fits, batch)} of the {batch} pairs of a batch at once: a pair takes "
            f"{max(1, round(pair_bytes / 2**20))} MiB, and {max(0, left) / 2**30:.1f} GiB can be used."
        )
        return fits


def full_memory(size: int) -> DeviceError:
    """Return the error for memory that is full with `size` pairs at once."""
    return DeviceError(
        f"The memory of the device is full with {size} pairs at once.",
        "Set a smaller chunk size, which leaves the result the same, or use LoRA of rank 8.",
    )


def _even(size: int, batch: int) -> int:
    """Return the size of equal chunks, as few as there would be of `size`, so that none is nearly empty."""
    return -(-batch // -(-batch // size))
