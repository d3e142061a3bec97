"""How much an image differs from a text-image model's training images, by the statistics of their features.

The features of the training images of each kind (such as "brain MR") are modeled by a normal distribution with a mean
per kind and a covariance shared by all kinds. These statistics are stored in a file beside the weights. The distance of
an image to a kind is the Mahalanobis distance (Lee et al., A simple unified framework for detecting out-of-distribution
samples, NeurIPS 2018), divided by a limit that was chosen on validation images. The out-of-distribution score is the
minimum over all kinds: above 1, an image is unlike all training images.
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
_REMEDY = "Get the model again from its source, or remove that file to go without warnings about unfamiliar images."


@dataclass(frozen=True)
class FeatureStatistics:
    """The kinds of images that a model has seen.

    Args:
        kinds: G names for display; several kinds may share one.
        means: (G, D) float32, mean of the L2-normalized features of each kind.
        whitening: (D, R) float32; |(x - mean) @ whitening| is the distance of features x to a kind.
        limits: (G,) float32, the distance to each kind that scores 1.
    """

    kinds: tuple[str, ...]
    means: torch.Tensor
    whitening: torch.Tensor
    limits: torch.Tensor

    def ood_score(self, features: torch.Tensor) -> torch.Tensor:
        """Compute out-of-distribution scores, (N,) float32 on the CPU, from images' L2-normalized features, (N, D)."""
        away = features.detach().float().cpu()[:, None] - self.means
        return ((away @ self.whitening).norm(dim=2) / self.limits).amin(1)

    def write(self, path: Path) -> None:
        """Write the statistics, with the whitening in float16.

        Raises:
            OutputError: the disk is full.
        """
        tensors = {"means": self.means, "whitening": self.whitening.half(), "limits": self.limits}
        about = {"kinds": json.dumps(self.kinds)}
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, about))


def read_statistics(folder: Path, width: int) -> FeatureStatistics | None:
    """Read the statistics in a model's folder; None if there are none.

    Args:
        width: dimension D of the model's features.

    Raises:
        ModelError: the file is damaged, is too large, or does not fit the model.
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
            # Copied, since Windows does not let a file that is mapped into memory be replaced or removed.
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
    """Read the names of the kinds, which are displayed."""
    names = json.loads(text[: MAX_KINDS * 2 * MAX_NAME])
    good = isinstance(names, list) and 0 < len(names) <= MAX_KINDS
    if not good or not all(
        isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME for name in names
    ):
        raise ValueError("it names no kinds")
    return tuple(names)
