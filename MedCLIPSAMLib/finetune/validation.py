"""What a model in training does with validation pairs: its loss, its retrieval, and how far it moves texts apart."""

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
    """Compute the figures of the validation pairs of a task, in every process the same.

    Args:
        model: what the task trains, in evaluation mode, as Fabric has set it up.
        check: called before every batch; what it raises ends the validation.

    Returns:
        Those of `retrieval.retrieval`; "loss", the mean over the batches; "spread", of the captions and of the texts
        that the presence of a prompt is compared with, see `retrieval.spread_of`.
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
    """Encode the everyday texts, (M, D) on the CPU, L2-normalized.

    Args:
        images: of a batch, which go through the model beside them.
    """
    parts = [EVERYDAY[at : at + len(images)] for at in range(0, len(EVERYDAY), len(images))]
    texts = [model(*task.inputs(images[: len(part)], list(part)))[1] for part in parts]
    return F.normalize(torch.cat(texts).float(), dim=-1).cpu()
