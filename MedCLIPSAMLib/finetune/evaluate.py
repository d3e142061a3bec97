"""Measure the retrieval of a model in the catalogue on pairs in files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F

from ..errors import InputError
from ..models.clip import ClipModel, load_clip
from ..models.device import resolve_device
from ..run_context import RunContext
from .batches import read_slice, square
from .captions import Pair
from .retrieval import retrieval

ENCODED_AT_ONCE = 32
"""Number of images or captions that are encoded at once."""
T = TypeVar("T")


def features(
    clip: ClipModel, pairs: Sequence[Pair], context: RunContext = RunContext()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode the images and captions of N pairs to float32 (N, D) each, L2-normalized and on the CPU.

    Images and captions that occur several times are encoded once.
    """

    def encode(values: list[T], encode_some: Callable[[list[T]], torch.Tensor]) -> torch.Tensor:
        rows = {value: row for row, value in enumerate(dict.fromkeys(values))}
        different, parts = list(rows), []
        for at in range(0, len(different), ENCODED_AT_ONCE):
            context.raise_if_cancelled()
            context.report(at, len(different), clip.name)
            parts.append(F.normalize(encode_some(different[at : at + ENCODED_AT_ONCE]).float(), dim=-1).cpu())
        return torch.cat(parts)[[rows[value] for value in values]]

    read = lambda files: torch.stack([square(read_slice(file), clip.image_size) for file in files]).numpy()
    with torch.inference_mode():
        images = encode([pair.image for pair in pairs], lambda files: clip.encode_image(clip.preprocess(read(files))))
        tokens = lambda captions: clip.tokenize(captions, cut=True)
        texts = encode([pair.caption for pair in pairs], lambda some: clip.model.encode_text(tokens(some)))
    return images, texts


def evaluate(
    name: str,
    pairs: Sequence[Pair],
    batch: int = 50,
    seeds: int = 5,
    device: str = "auto",
    models_dir: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Measure the retrieval of a model; see `retrieval.retrieval` for the figures."""
    if len(pairs) < 2:
        raise InputError(f"Expected at least two pairs for retrieval, got {len(pairs)}.", "Give more pairs.")
    clip = load_clip(name, resolve_device(device), models_dir=models_dir)
    images, texts = features(clip, pairs, context)
    captions, files = [pair.caption for pair in pairs], [pair.image for pair in pairs]
    return retrieval(images, texts, captions, files, batch, range(seeds))
