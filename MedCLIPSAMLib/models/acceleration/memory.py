"""Detect that the memory of a device ran out, and free it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ...errors import DeviceError

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on any kind of device, or is one of `refuse_too_large`."""
    if isinstance(error, DeviceError) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def refuse_too_large(device: torch.device) -> Iterator[None]:
    """Turn running out of memory, while models are loaded, into an error for the user.

    Raises:
        DeviceError: memory ran out, and what to do.
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
            remedy = "Choose the CPU as the device, or smaller models, or end the other programs."
        raise DeviceError(problem, remedy) from error


def release() -> None:
    """Free unused memory of the device; call it outside exception handlers, as exceptions hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
