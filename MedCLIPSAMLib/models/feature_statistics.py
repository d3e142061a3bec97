"""How unlike an image is to a text-image model's training images, by the statistics of their features.

The features of the training images of each kind ("brain MR") are modeled by a normal distribution with its own mean
and one covariance for all; they are in a file beside the weights. An image's distance to a kind is Mahalanobis'
(Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018); it is divided by a
limit that was chosen on validation images, and the minimum over all kinds counts: above 1 an image is unlike any
training image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import ModelError
from ..files.atomic import atomic_path
from ..files.regular import check_regular

STATISTICS = "statistics.safetensors"
"""Name of the file in a model's folder."""
MAX_BYTES, MAX_KINDS, MAX_NAME = 1 << 20, 64, 60
_REMEDY = "Get the model again from its source, or remove that file: then nothing is said of unfamiliar images."


@dataclass(frozen=True)
class FeatureStatistics:
    """The kinds of images that a model has seen.

    Args:
        kinds: their names, for people; several may share one.
        means: (G, D) float32, mean of the L2-normalized features of each kind.
        whitening: (D, R) float32: |(x - mean) @ whitening| is the distance of features x to a kind.
        limits: (G,) float32, the distance that counts as 1.
    """

    kinds: tuple[str, ...]
    means: torch.Tensor
    whitening: torch.Tensor
    limits: torch.Tensor

    def ood_score(self, features: torch.Tensor) -> torch.Tensor:
        """Compute out-of-distribution scores, (N,) float32 on the CPU, from their L2-normalized features, (N, D)."""
        away = features.detach().float().cpu()[:, None] - self.means
        return ((away @ self.whitening).norm(dim=2) / self.limits).amin(1)

    def write(self, path: Path) -> None:
        """Write the statistics, the whitening in float16.

        Raises:
            OutputError: the disk is full.
        """
        tensors = {"means": self.means, "whitening": self.whitening.half(), "limits": self.limits}
        about = {"kinds": json.dumps(self.kinds)}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, about))


def read_statistics(folder: Path, width: int) -> FeatureStatistics | None:
    """Read the statistics of a model's folder; None where it has none.

    Args:
        width: D of the model's features.

    Raises:
        ModelError: the file is damaged, too large, or does not fit the model.
    """
    path = folder / STATISTICS
    if not path.exists():
        return None
    check_regular(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        with safe_open(path, "pt") as file:
            kinds = _names((file.metadata() or {}).get("kinds", ""))
            names = ("means", "whitening", "limits")
            # Copies: Windows lets nobody replace or remove a file that is mapped into memory.
            found = [file.get_tensor(name).to(torch.float32, copy=True) for name in names]
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise ModelError(f"Expected statistics of images in '{path}', got a damaged file: {error}.", _REMEDY) from error
    means, whitening, limits = found
    count = len(kinds)
    fits = means.shape == (count, width) and limits.shape == (count,)
    fits = fits and whitening.ndim == 2 and whitening.shape[0] == width and 0 < whitening.shape[1] <= width
    if not fits or not all(bool(tensor.isfinite().all()) for tensor in found) or not bool((limits > 0).all()):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in found)
        raise ModelError(
            f"Expected finite statistics of {count} kinds and {width} features in '{path}', got arrays of {shapes}.",
            _REMEDY,
        )
    return FeatureStatistics(kinds, means, whitening, limits)


def _names(text: str) -> tuple[str, ...]:
    """Read the names of the kinds, which are shown to people."""
    names = json.loads(text[: MAX_KINDS * 2 * MAX_NAME])
    good = isinstance(names, list) and 0 < len(names) <= MAX_KINDS
    if not good or not all(
        isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME for name in names
    ):
        raise ValueError("it names no kinds")
    return tuple(names)
