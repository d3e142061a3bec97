"""Cancellation during a forward pass that takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from ..run_context import RunContext


@contextmanager
def interruptible(blocks: Iterable[torch.nn.Module], context: RunContext) -> Iterator[None]:
    """Check before each of some blocks of a network whether the run was cancelled.

    Raises:
        Cancelled: raised from within the forward pass.
    """
    hooks = [block.register_forward_pre_hook(lambda *_: context.raise_if_cancelled()) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
