"""What is trained in a fine-tuning, and on what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .batches import Source


@dataclass(frozen=True)
class TrainingTask:
    """A module to train, the model that it belongs to, and its data.

    Args:
        trained: inputs of images and texts -> features of both, (b, D) each, L2-normalized; perhaps wrapped by LoRA.
        model: what `trained` is a part of; its weights are the result.
        training, validation: batches.
        inputs: a batch -> what `trained` takes: of a whole model pixels and tokens.
    """

    trained: torch.nn.Module
    model: torch.nn.Module
    training: Source
    validation: Source
    inputs: Callable[[torch.Tensor, list[str]], tuple[torch.Tensor, torch.Tensor]]
