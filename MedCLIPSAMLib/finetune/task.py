"""The module that a fine-tuning trains, and its data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .batches import Source


@dataclass(frozen=True)
class TrainingTask:
    """A module to train, the model that it belongs to, and its data.

    Args:
        trained: (image inputs, text inputs) -> features of both, (b, D) each, L2-normalized; may be wrapped by LoRA.
        model: the model that `trained` is, or is a part of; its weights are the result.
        training, validation: sources of batches.
        inputs: converts a batch to the inputs of `trained`, which are pixels and tokens for a whole model.
    """

    trained: torch.nn.Module
    model: torch.nn.Module
    training: Source
    validation: Source
    inputs: Callable[[torch.Tensor, list[str]], tuple[torch.Tensor, torch.Tensor]]
