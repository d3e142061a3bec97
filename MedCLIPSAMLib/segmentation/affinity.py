"""Make a saliency map follow the edges of the image by spreading it among places that look alike to SAM 2.

ProxyCLIP (Lan et al., ECCV 2024, arXiv 2408.04883) and Trident (Shi et al. 2024, arXiv 2411.09219) replace CLIP's own
attention by the affinity of a segmentation model: the cosine similarity of its image features, centered, sharpened, and
normalized by a softmax over the positive values. Here the affinity averages the map itself. SAM 2 has computed the
features already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from ..validated import Share, settings_class

SIDE = 64
"""Maximum rows and columns of the features used: 4096 places, 64 MB of affinities."""


@settings_class
class AffinitySettings:
    """Settings for spreading a saliency map.

    Args:
        steps: how often the map is spread; 0 keeps it unchanged.
        center: this multiple of the mean affinity is subtracted.
        sharpness: factor of the remaining affinity before the softmax.
        share: share of the spread map in the result; the rest is the original map.
        reach: standard deviation, as a share of the image side, of a Gaussian that gives distant places less weight; 0
            applies no such weight, as published.
        by_channel: subtract from each feature channel its mean over the image, which does not distinguish places.
    """

    steps: Annotated[int, Field(ge=0, le=10)] = 0
    center: Annotated[float, Field(ge=0)] = 1.2
    sharpness: Annotated[float, Field(gt=0)] = 3.0
    share: Share = 1.0
    reach: Share = 0.0
    by_channel: bool = False


SHARP = AffinitySettings(steps=1, sharpness=30.0, by_channel=True)
"""The settings that the option of the commands selects; one step of the defaults, as published, loses small objects."""


@torch.no_grad()
def spread_map(values: torch.Tensor, features: torch.Tensor, settings: AffinitySettings) -> torch.Tensor:
    """Average maps over similar places: (T, h, w) float32 to (T, H, W) on the grid of the features.

    Args:
        values: maps of one image, by patch.
        features: (C, H, W) features of the same image; both cover all of it.
    """
    grid = (features.shape[1], features.shape[2])
    maps = F.interpolate(values[None], size=grid, mode="bilinear", align_corners=False)[0]
    if settings.by_channel:
        features = features - features.mean((1, 2), keepdim=True)
    weights = affinity(features, settings.center, settings.sharpness)
    if settings.reach:
        weights = weights * nearness(grid, settings.reach, weights)
        weights = weights / weights.sum(-1, keepdim=True)
    spread = maps.flatten(1)
    for _ in range(settings.steps):
        spread = spread @ weights.T
    return settings.share * spread.unflatten(1, grid) + (1 - settings.share) * maps


def affinity(features: torch.Tensor, center: float, sharpness: float) -> torch.Tensor:
    """Compute the weight of each place in the average of each other: (C, H, W) to (H * W, H * W), rows sum to 1.

    A place always has a weight in its own average, whatever the mean affinity is.
    """
    unit = F.normalize(features.float().flatten(1).T, dim=-1)
    alike = unit @ unit.T
    alike = (alike - center * alike.mean()) * sharpness
    alike.fill_diagonal_(float(alike.diagonal().mean().clamp(min=0)))
    return alike.masked_fill_(alike < 0, -torch.inf).softmax(-1)


def nearness(grid: tuple[int, int], reach: float, like: torch.Tensor) -> torch.Tensor:
    """Compute a Gaussian of the distances between all places of a grid, (H * W, H * W), 1 on the diagonal."""
    sides = [torch.arange(side, dtype=like.dtype, device=like.device) / side for side in grid]
    places = torch.cartesian_prod(*sides)
    return torch.exp(-(torch.cdist(places, places) ** 2) / (2 * reach**2))


def finest(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Choose the feature level of highest resolution, (1, C, H, W) each, with at most `SIDE` rows and columns."""
    fitting = [level for level in levels if max(level.shape[-2:]) <= SIDE]
    return max(fitting or [levels[-1]], key=lambda level: level.shape[-1])
