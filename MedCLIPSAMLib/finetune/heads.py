"""Training of the heads alone, which needs the towers once.

Where both towers are frozen and images are whole, they give the same features for an image or a caption in every epoch.
These are computed once, so that an epoch takes less than a second in place of minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..models.clip import ClipModel
from ..models.image_text import TextImageModel
from ..run_context import RunContext
from ..segmentation.presence import EVERYDAY
from .batches import Batch, PairSource
from .task import Task

TOGETHER = 32
"""Number of images or captions that are encoded at once."""


class Heads(nn.Module):
    """The projections of a model's towers into the common space, under the names that they have in the model.

    Args:
        model: whose projections these are; they are not copied.
    """

    def __init__(self, model: TextImageModel) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"head": model.visual.head})
        self.text = nn.ModuleDict({"proj": model.text.proj})

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project the features of towers, (N, W) and (N, V), to (N, D) each, L2-normalized."""
        image, text = self.visual["head"](images), self.text["proj"](texts)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


class EncodedSource:
    """The batches of another source, with the features of the image tower, float32 (b, W), in place of images.

    Args:
        source: pairs in files.
        images: the features of all its pairs, (N, W).
    """

    def __init__(self, source: PairSource, images: torch.Tensor) -> None:
        self._source, self._images = source, images
        self.steps, self.batch = source.steps, source.batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See the head of `batches`."""
        for numbers in self._source.order(epoch)[start:]:
            yield self._images[numbers], [self._source.pairs[number].caption for number in numbers]


def encode_once(task: Task, clip: ClipModel, fabric: Any, context: RunContext) -> Task:
    """Run the towers once on all images and captions, and train the heads on their features.

    Args:
        task: training of a model whose towers are frozen. It stays as it is where its pairs are in shards, which may be
            more than memory holds, or its images are cropped.
    """
    sources = [source for source in (task.training, task.validation) if isinstance(source, PairSource)]
    if len(sources) < 2 or any(source.crop < 1 for source in sources):
        return task
    training, validation = (EncodedSource(source, _encode_images(clip, source, fabric, context)) for source in sources)
    captions = [pair.caption for source in sources for pair in source.pairs]
    texts = _encode_captions(clip, [*captions, *EVERYDAY], fabric)
    inputs = lambda images, captions: (images, torch.stack([texts[caption] for caption in captions]))
    return Task(Heads(clip.model), task.model, training, validation, inputs)


@torch.no_grad()
def _encode_images(clip: ClipModel, source: PairSource, fabric: Any, context: RunContext) -> torch.Tensor:
    """Run the image tower on every pair of a source: float32 (N, W) on the model's device."""
    count = len(source.pairs)
    batches = [list(range(at, min(at + TOGETHER, count))) for at in range(0, count, TOGETHER)]
    features: list[torch.Tensor] = []
    for images, _captions in source.load(batches):
        context.raise_if_cancelled()
        with fabric.autocast():
            features.append(_input_of(clip.model.visual.head, clip.model.encode_image, clip.preprocess(images.numpy())))
        context.report(sum(map(len, features)), count, "encoding images")
    return torch.cat(features)


@torch.no_grad()
def _encode_captions(clip: ClipModel, captions: list[str], fabric: Any) -> dict[str, torch.Tensor]:
    """Run the text tower on every caption: float32 (V,) each on the model's device."""
    features: dict[str, torch.Tensor] = {}
    unique = list(dict.fromkeys(captions))
    for at in range(0, len(unique), TOGETHER):
        chunk = unique[at : at + TOGETHER]
        with fabric.autocast():
            rows = _input_of(clip.model.text.proj, clip.model.encode_text, clip.tokenize(chunk, True))
        features.update(zip(chunk, rows))
    return features


def _input_of(head: nn.Module, encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return what a head is given when a tower encodes inputs."""
    given: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _head, arguments: given.append(arguments[0].float()))
    try:
        encode(inputs)
    finally:
        hook.remove()
    return given[0]
