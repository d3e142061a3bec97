"""Retrieval of a model of the catalogue on pairs in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..models.clip import ClipModel, load_clip
from ..models.device import resolve_device
from ..run_context import RunContext
from .batches import read_slice, square
from .captions import Pair
from .retrieval import retrieval

PAIRS_AT_ONCE = 32
"""Number of pairs that are encoded at once."""


def features(
    clip: ClipModel, pairs: Sequence[Pair], context: RunContext = RunContext()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode images and captions: float32 (N, D) each on the CPU, L2-normalized."""
    images, texts = [], []
    for at in range(0, len(pairs), PAIRS_AT_ONCE):
        chunk = pairs[at : at + PAIRS_AT_ONCE]
        context.raise_if_cancelled()
        context.report(at, len(pairs), clip.name)
        rgb = torch.stack([square(read_slice(pair.image), clip.image_size) for pair in chunk])
        images.append(clip.encode_image(clip.preprocess(rgb.numpy())).cpu())
        tokens = clip.tokenize([pair.caption for pair in chunk], cut=True)
        with torch.inference_mode():
            texts.append(torch.nn.functional.normalize(clip.model.encode_text(tokens).float(), dim=-1).cpu())
    return torch.cat(images), torch.cat(texts)


def evaluate(
    name: str,
    pairs: Sequence[Pair],
    batch: int = 50,
    seeds: int = 5,
    device: str = "auto",
    models_dir: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Measure the retrieval of a model; see `retrieval.retrieval`.

    Raises:
        ModelError: no such model. InputError: less than two pairs.
    """
    clip = load_clip(name, resolve_device(device), models_dir=models_dir)
    images, texts = features(clip, pairs, context)
    captions, files = [pair.caption for pair in pairs], [pair.image for pair in pairs]
    return retrieval(images, texts, captions, files, batch, range(seeds))
