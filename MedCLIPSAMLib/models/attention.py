"""Attention in bfloat16 on a CPU as two products of matrices and a softmax, where torch's fused one takes two to three
times as long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

ROWS = 512
"""Queries whose shares are held at once, so that they stay near the processor."""


def fast_attention(device: torch.device, bfloat16: bool) -> AbstractContextManager:
    """A context in which a model's attention is computed the way that is fastest for a device and precision."""
    return _InProducts() if bfloat16 and device.type == "cpu" else nullcontext()


class _InProducts(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable, types: Any, given: tuple = (), named: dict[str, Any] | None = None
    ) -> Any:
        named = named or {}
        if function is F.scaled_dot_product_attention and len(given) == 3 and given[0].dtype == torch.bfloat16:
            if not any(isinstance(each, torch.Tensor) or each for each in named.values()):  # no mask, no dropout
                return attention(*given)
        return function(*given, **named)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(C)) v, (..., L, C) of queries (..., L, C), keys and values (..., S, C)."""
    query, key = query * query.shape[-1] ** -0.5, key.transpose(-2, -1)
    parts = [(some @ key).softmax(-1) @ value for some in query.split(ROWS, -2)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -2)
