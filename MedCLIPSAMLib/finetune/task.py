"""What is trained in a fine-tuning, and on what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..models.clip import ClipModel
from .batches import Source


@dataclass(frozen=True)
class TrainingTask:
    """A module to train, the model that it belongs to, and its data.

    Args:
        trained: inputs of images and texts -> features of both, (b, D) each, L2-normalized.
        model: what `trained` is a part of; its weights are the result.
        training, validation: batches.
        inputs: a batch -> what `trained` takes.
    """

    trained: torch.nn.Module
    model: torch.nn.Module
    training: Source
    validation: Source
    inputs: Callable[[torch.Tensor, list[str]], tuple[torch.Tensor, torch.Tensor]]


def make_task(clip: ClipModel, model: torch.nn.Module, training: Source, validation: Source) -> TrainingTask:
    """Make the task that trains a whole model on pixels and tokens.

    Args:
        model: that of `clip`, perhaps wrapped by LoRA.
        training, validation: batches of images, uint8 (b, S, S, 3), and captions.
    """
    return TrainingTask(
        model,
        model,
        training,
        validation,
        lambda images, captions: (clip.preprocess(images.numpy()), clip.tokenize(captions, True)),
    )
