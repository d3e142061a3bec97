"""Detect that a device ran out of memory, and free memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ...errors import DeviceError

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out on any device; errors of `refuse_too_large` count too."""
    if isinstance(error, DeviceError) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def refuse_too_large(device: torch.device) -> Iterator[None]:
    """Convert running out of memory while loading models into an error for the user.

    Raises:
        DeviceError: memory ran out; the message says what to do.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if device.type == "cpu":
            problem, remedy = "The models do not fit into this machine's memory.", "Choose smaller models."
        else:
            problem = f"The models do not fit into the memory of {device}, or other programs use it."
            remedy = "Choose the CPU as the device, choose smaller models, or close the other programs."
        raise DeviceError(problem, remedy) from error


def release() -> None:
    """Free unused memory of the device; call this outside exception handlers, since exceptions hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
