"""Products of matrices in bfloat16, and what makes them faster on a CPU.

There torch's fused attention takes two to three times as long as two products and a softmax; and autocast rounds the
weights again at every use, which matters where the same layers are used many times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

ROWS = 512
"""Queries whose attention weights are computed at once, so that they fit into the cache of the processor."""


@contextmanager
def in_bfloat16(device: torch.device, enabled: bool, again: bool = False) -> Iterator[None]:
    """Open a context in which a model of frozen float32 weights multiplies in bfloat16, or, not `enabled`, float32.

    Args:
        again: the same layers are used many times in it; their rounded weights are kept until it ends.
    """
    on_cpu = _OnCpu(again) if enabled and device.type == "cpu" else nullcontext()
    # A recording would read cached weights that are gone.
    with torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=device.type != "cuda"), on_cpu:
        yield


class _OnCpu(TorchFunctionMode):
    def __init__(self, again: bool) -> None:
        super().__init__()
        self._again = again
        self._rounded: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        plain = not any(isinstance(value, torch.Tensor) or value for value in kwargs.values())  # no mask, no dropout
        if function is F.scaled_dot_product_attention and plain and len(args) == 3 and args[0].dtype == torch.bfloat16:
            return attention(*args)
        if self._again and function is F.linear and len(args) == 3 and not args[1].requires_grad:
            weight = args[1]
            if id(weight) not in self._rounded:  # kept with its weight, so that no other object gets its id
                self._rounded[id(weight)] = weight, weight.bfloat16()
            args = args[0], self._rounded[id(weight)][1], args[2]
        return function(*args, **kwargs)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Compute softmax(q k^T / sqrt(C)) v, (..., L, C), of queries (..., L, C), keys and values (..., S, C)."""
    query, key = query * query.shape[-1] ** -0.5, key.transpose(-2, -1)
    parts = [(rows @ key).softmax(-1) @ value for rows in query.split(ROWS, -2)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)
