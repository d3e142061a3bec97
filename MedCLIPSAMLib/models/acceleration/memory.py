"""Detect that the memory of a device ran out, and free it."""

from __future__ import annotations

import gc

import torch

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on any kind of device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def release() -> None:
    """Free unused memory of the device; call it outside exception handlers, as exceptions hold tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
