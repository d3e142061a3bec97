"""Validate a model in training: its loss and retrieval on the validation pairs, and how far apart it places texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..segmentation.presence import EVERYDAY
from .retrieval import retrieval, spread_of
from .task import TrainingTask


@torch.no_grad()
def validate(
    model: torch.nn.Module,
    task: TrainingTask,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Compute the figures of a task's validation pairs; they are the same in every process.

    Args:
        model: the trained module of the task, as set up by Fabric, in evaluation mode.
        task: the task.
        loss: (image features, text features) -> scalar.
        check: called before every batch; an exception that it raises ends the validation.

    Returns:
        The figures of `retrieval.retrieval`; "loss", the mean loss over the batches; and "spread", see
        `retrieval.spread_of`, of the captions and the everyday texts with which the presence of a prompt is compared.
    """
    losses, image_parts, text_parts = list[float](), list[torch.Tensor](), list[torch.Tensor]()
    captions: list[str] = []
    for batch, some in task.validation.batches(0):
        check()
        image, text = (features.float() for features in model(*task.inputs(batch, some))[:2])
        losses.append(loss(image, text).item())
        image_parts.append(image.cpu())
        text_parts.append(text.cpu())
        captions.extend(some)
    images, texts = F.normalize(torch.cat(image_parts), dim=-1), F.normalize(torch.cat(text_parts), dim=-1)
    different = list({caption: number for number, caption in enumerate(captions)}.values())
    spread = spread_of(images, torch.cat([texts[different], _encode_everyday(model, task, batch)]))
    names = task.validation.image_names(0)
    return retrieval(images, texts, captions, names) | {"loss": sum(losses) / len(losses), "spread": spread}


def _encode_everyday(model: torch.nn.Module, task: TrainingTask, images: torch.Tensor) -> torch.Tensor:
    """Encode the everyday texts to (M, D) on the CPU, L2-normalized.

    Args:
        model, task: see `validate`.
        images: images of a batch, which the model takes together with the texts.
    """
    parts = [EVERYDAY[at : at + len(images)] for at in range(0, len(EVERYDAY), len(images))]
    texts = [model(*task.inputs(images[: len(part)], list(part)))[1] for part in parts]
    return F.normalize(torch.cat(texts).float(), dim=-1).cpu()
