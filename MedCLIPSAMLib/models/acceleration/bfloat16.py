"""Matrix products in bfloat16, and two ways to make them faster on a CPU.

On a CPU, torch's fused attention takes two to three times as long as two products and a softmax. Autocast also rounds
the weights again at every use, which matters if the same layers are used many times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

ROWS = 512
"""Number of queries whose attention weights are computed at once, so that they fit into the processor's cache."""


@contextmanager
def in_bfloat16(device: torch.device, enabled: bool, again: bool = False) -> Iterator[None]:
    """Open a context in which a model with frozen float32 weights multiplies in bfloat16.

    Args:
        device: the model's device.
        enabled: if false, the model multiplies in float32.
        again: whether the same layers are used many times within the context; their rounded weights are kept until it
            ends.
    """
    on_cpu = _OnCpu(again) if enabled and device.type == "cpu" else nullcontext()
    # No cache on CUDA: a recorded graph would read cached weights that have been freed.
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
            if id(weight) not in self._rounded:  # the weight is kept too, so that no other object gets its id
                self._rounded[id(weight)] = weight, weight.bfloat16()
            args = args[0], self._rounded[id(weight)][1], args[2]
        return function(*args, **kwargs)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Compute softmax(q k^T / sqrt(C)) v, (..., L, C), from queries (..., L, C), and keys and values (..., S, C)."""
    query, key = query * query.shape[-1] ** -0.5, key.transpose(-2, -1)
    parts = [(rows @ key).softmax(-1) @ value for rows in query.split(ROWS, -2)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)
