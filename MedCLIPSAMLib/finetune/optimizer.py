"""Functions shared by trainings: AdamW's parameter groups, the demo models' schedule, and weights in float16."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch


def group_by_decay(parameters: Iterable[torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Group parameters for AdamW, with weight decay for matrices but not for vectors and scalars."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim > 1 else rest).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def cosine_schedule(optimizer: torch.optim.Optimizer, warm_up: int, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Make a schedule: the minimum of a linear rise over `warm_up` steps and a half cosine to 0 over all `steps`."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )


def convert_to_half(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert a model's state to the shipped form: float16 on the CPU, without position ids."""
    return {
        name: (tensor.detach().half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in state.items()
        if not name.endswith("position_ids")
    }
