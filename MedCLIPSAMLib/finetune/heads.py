"""Train only the heads, so that the towers are needed only once.

If both towers are frozen and images are not cropped, the features of an image or caption are the same in every epoch.
They are computed once, so that an epoch takes less than a second instead of minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import ModelError
from ..models.clip import ClipModel
from ..models.image_text import TextImageModel
from ..run_context import RunContext
from ..segmentation.presence import EVERYDAY
from .batches import Batch, PairSource
from .captions import Pair
from .checkpoint import read_checkpoint, write_checkpoint
from .task import TrainingTask

STAGE = "encoding"
ENCODED_AT_ONCE = 32
"""Number of images or captions that are encoded at once."""


class Heads(nn.Module):
    """The projections of a model's towers into the common space, under the same names as in the model.

    Args:
        model: the model, whose projections are shared, not copied.
    """

    def __init__(self, model: TextImageModel) -> None:
        super().__init__()
        self.visual = nn.ModuleDict({"head": model.visual.head})
        self.text = nn.ModuleDict({"proj": model.text.proj})

    def forward(self, images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project the towers' features, (N, W) for images and (N, V) for texts, to (N, D) each, L2-normalized."""
        image, text = self.visual["head"](images), self.text["proj"](texts)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)


class EncodedSource:
    """The batches of another source, with the image tower's features, float32 (b, W), instead of images.

    Args:
        source: the source of pairs in files.
        images: features of all images, (N, W).
        rows: row of each image file in `images`.
    """

    def __init__(self, source: PairSource, images: torch.Tensor, rows: Mapping[Path, int]) -> None:
        self._source, self._images, self._rows = source, images, rows
        self.steps, self.batch = source.steps, source.batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """See `batches.Source`."""
        for numbers in self._source.order(epoch)[start:]:
            pairs = [self._source.pairs[number] for number in numbers]
            yield self._images[[self._rows[pair.image] for pair in pairs]], [pair.caption for pair in pairs]

    def image_names(self, epoch: int) -> list[str]:
        """See `batches.Source`."""
        return self._source.image_names(epoch)


def encode_once(
    task: TrainingTask, clip: ClipModel, fabric: Any, store: Path, fingerprint: Mapping[str, Any], context: RunContext
) -> TrainingTask:
    """Run the towers once on all images and captions, and return the task of training the heads on their features.

    Args:
        task: task of training a model whose towers are frozen. It is returned unchanged if its pairs are in shards,
            which may exceed memory, or if its images are cropped.
        clip: the model.
        fabric: Lightning Fabric, for its precision.
        store: file with the features of images, from which a stopped run resumes.
        fingerprint: names and checksums of the base and the data; a store with another fingerprint is refused.
        context: receives the stage "encoding", and is checked between batches.

    Raises:
        Cancelled: the context was cancelled; the features so far are stored.
        ModelError: the store is refused; see `checkpoint.read_checkpoint`.
    """
    sources = [source for source in (task.training, task.validation) if isinstance(source, PairSource)]
    if len(sources) < 2 or any(source.crop < 1 for source in sources):
        return task
    pairs = [pair for source in sources for pair in source.pairs]
    rows = {image: row for row, image in enumerate(dict.fromkeys(pair.image for pair in pairs))}
    alone = [Pair(image, "", "") for image in rows]
    every = PairSource(alone, sources[0].size, 2, workers=sources[0].workers, read=sources[0].read)
    found = [_read_features(store, fingerprint, len(rows)).to(clip.device)] if store.is_file() else []
    known = sum(map(len, found))
    try:
        _encode_images(clip, every, found, fabric, context)
    finally:
        if sum(map(len, found)) > known:
            store.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(store, {"model": {"images": torch.cat(found).cpu()}, "fingerprint": dict(fingerprint)})
    texts = _encode_captions(clip, [*(pair.caption for pair in pairs), *EVERYDAY], fabric, context)
    images = torch.cat(found)
    training, validation = (EncodedSource(source, images, rows) for source in sources)
    inputs = lambda images, captions: (images, torch.stack([texts[caption] for caption in captions]))
    return TrainingTask(Heads(clip.model), task.model, training, validation, inputs)


def _read_features(store: Path, fingerprint: Mapping[str, Any], most: int) -> torch.Tensor:
    """Read the features of the first images, float32 (n, W), with n at most `most`."""
    found = read_checkpoint(store, fingerprint)["model"].get("images")
    if found is None or found.ndim != 2 or len(found) > most or not found.isfinite().all():
        raise ModelError(f"The features '{store}' are damaged.", "Remove the file to encode the images again.")
    return found


@torch.no_grad()
def _encode_images(
    clip: ClipModel, source: PairSource, found: list[torch.Tensor], fabric: Any, context: RunContext
) -> None:
    """Run the image tower on the images of a source after those in `found`, and append float32 (b, W) per batch."""
    done, total = sum(map(len, found)), len(source.pairs)
    left = range(done, total)
    for images, _captions in source.load(
        [list(left[at : at + ENCODED_AT_ONCE]) for at in range(0, len(left), ENCODED_AT_ONCE)]
    ):
        context.raise_if_cancelled()
        with fabric.autocast():
            found.append(_input_of(clip.model.visual.head, clip.model.encode_image, clip.preprocess(images.numpy())))
        done += len(images)
        context.report(done, total, "encoding images", stage=STAGE)


@torch.no_grad()
def _encode_captions(clip: ClipModel, captions: list[str], fabric: Any, context: RunContext) -> dict[str, torch.Tensor]:
    """Run the text tower on every caption, and return its features, float32 (V,) on the model's device."""
    features: dict[str, torch.Tensor] = {}
    unique = sorted(set(captions), key=len)
    for at in range(0, len(unique), ENCODED_AT_ONCE):
        context.raise_if_cancelled()
        chunk = unique[at : at + ENCODED_AT_ONCE]
        with fabric.autocast():
            rows = _input_of(clip.model.text.proj, clip.model.encode_text, clip.tokenize(chunk, True))
        features.update(zip(chunk, rows))
        context.report(len(features), len(unique), "encoding captions", stage=STAGE)
    return features


def _input_of(head: nn.Module, encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    """Return a copy of a head's input when a tower encodes `inputs`; this may be some of the tower's tokens."""
    given: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(
        lambda _head, arguments: given.append(arguments[0].detach().to(torch.float32, copy=True))
    )
    try:
        encode(inputs)
    finally:
        hook.remove()
    return given[0]
