"""Measure retrieval as in the paper: which of 50 captions belongs to an image, and which of 50 images to a caption.

Pairs are shuffled into batches of 50. In each batch, retrieval is the share of images whose own caption is among the 1
or 2 most similar captions (image to text), and the reverse. The shuffle is repeated with several seeds. Figures are
means over the seeds, with the 95 % interval of the mean by Student's t (arXiv 2409.19483, table of ROCO retrieval with
5 runs).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from scipy.stats import t as student

from ..errors import InputError

BATCH = 50
TOP = (1, 2)
SPREAD_TOGETHER = 256
"""Number of images whose cosines with all texts are in memory at once."""


def retrieval(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    captions: Sequence[str] | None = None,
    images: Sequence[Hashable] | None = None,
    batch: int = BATCH,
    seeds: Sequence[int] = range(5),
) -> dict:
    """Measure top-1 and top-2 retrieval of N pairs in both directions.

    Args:
        image_features, text_features: (N, D), L2-normalized; row i of both is a pair.
        captions, images: the texts, and unique names of the images; by default all differ. For an image, every caption
            that it has in one of the N pairs is right; for a caption, every image that has it.
        batch: number of pairs per batch; at most N. The remaining pairs of a shuffle are dropped.
        seeds: seeds of the shuffles.

    Returns:
        {"pairs", "batch", "seeds", "chance", "image_to_text": {"top1": {"mean", "interval", "by_seed"}, "top2": ...},
        "text_to_image": ...}, with shares from 0 to 1. "interval" is half the width of the 95 % interval, and "chance"
        is the top-1 retrieval of guessing.
    """
    count = len(image_features)
    if count < 2:
        raise InputError(f"Expected at least two pairs for retrieval, got {count}.")
    batch = min(batch, count)
    image_ids, caption_ids = _identify(images or range(count)), _identify(captions or range(count))
    known = np.unique(image_ids * count + caption_ids)
    by_seed: list[list[list[float]]] = []
    right_pairs = seen_pairs = 0
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(count)
        found = []
        for start in range(0, count - batch + 1, batch):
            numbers = order[start : start + batch]
            similar = (image_features[numbers] @ text_features[numbers].T).float().cpu().numpy()
            keys = image_ids[numbers][:, None] * count + caption_ids[numbers]
            right = known[np.searchsorted(known, keys).clip(max=len(known) - 1)] == keys
            right_pairs, seen_pairs = right_pairs + int(right.sum()), seen_pairs + right.size
            best = lambda scores: np.argsort(-scores, axis=1, kind="stable")[:, : max(TOP)]
            ways = (similar, right), (similar.T, right.T)
            found.append([np.take_along_axis(correct, best(scores), axis=1) for scores, correct in ways])
        ranked = np.concatenate(found, axis=1)  # (2 ways, pairs, ranks)
        by_seed.append([ranked[..., :top].any(2).mean(1).tolist() for top in TOP])
    figures = {
        name: {f"top{top}": _with_interval([tops[at][way] for tops in by_seed]) for at, top in enumerate(TOP)}
        for way, name in enumerate(("image_to_text", "text_to_image"))
    }
    chance = right_pairs / seen_pairs
    return {"pairs": count, "batch": batch, "seeds": len(by_seed), "chance": chance, **figures}


def top1(figures: dict) -> float:
    """Return the mean top-1 retrieval of both directions."""
    return (figures["image_to_text"]["top1"]["mean"] + figures["text_to_image"]["top1"]["mean"]) / 2


def spread_of(image_features: torch.Tensor, text_features: torch.Tensor) -> float:
    """Compute the spread of texts: the standard deviation of an image's cosines with them, averaged over images.

    Args:
        image_features: (N, D), L2-normalized.
        text_features: (M, D), L2-normalized, with M at least 2.
    """
    parts = [(part @ text_features.T).float().std(1) for part in image_features.split(SPREAD_TOGETHER)]
    return torch.cat(parts).mean().item()


def _identify(values: Sequence[Hashable]) -> np.ndarray:
    """Assign numbers to values, int64 (N,), with the same number for equal values."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], np.int64)


def _with_interval(values: list[float]) -> dict:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    wide = float(student.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "interval": wide, "by_seed": values}
