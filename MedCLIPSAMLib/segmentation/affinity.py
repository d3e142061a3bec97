"""A saliency map that follows the edges of the image: spread among places that look alike to SAM 2.

The cosine affinity of a segmentation model's image features, centered, sharpened and normalized by a softmax over what
is left above zero, in place of CLIP's own attention: ProxyCLIP (Lan et al., ECCV 2024, arXiv 2408.04883) and Trident
(Shi et al. 2024, arXiv 2411.09219). Here it averages the map itself. SAM 2 has the features already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field

from ..validated import Share, settings_class

SIDE = 64
"""Maximum rows and columns of the features taken: 4096 places, 64 MB of affinities."""


@settings_class
class AffinitySettings:
    """Settings of how far the map is spread.

    Args:
        steps: how often; 0 leaves the map as it is.
        center: times the mean affinity, which is subtracted.
        sharpness: factor of what is left before the softmax.
        share: of the spread map in the result; the rest is the map as it was.
        reach: standard deviation, as a share of the image's side, of a Gaussian by which places count less the farther
            they are; 0 is everywhere alike, as published.
        by_channel: subtract from each feature its mean over the image, which does not distinguish any places.
    """

    steps: Annotated[int, Field(ge=0, le=10)] = 0
    center: Annotated[float, Field(ge=0)] = 1.2
    sharpness: Annotated[float, Field(gt=0)] = 3.0
    share: Share = 1.0
    reach: Share = 0.0
    by_channel: bool = False


SHARP = AffinitySettings(steps=1, sharpness=30.0, by_channel=True)
"""The affinity of the commands' option; one step of the defaults, as published, loses small objects."""


@torch.no_grad()
def spread_map(values: torch.Tensor, features: torch.Tensor, settings: AffinitySettings) -> torch.Tensor:
    """Average a map over similar places: (T, h, w) float32 to (T, H, W) on the grid of the features.

    Args:
        values: maps of one image by patch.
        features: (C, H, W) of the same image, the whole of it.
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
    """Compute how much each place takes of each other: features (C, H, W) to (H * W, H * W), whose rows sum to 1.

    A place always takes part of itself, whatever the mean affinity is.
    """
    unit = F.normalize(features.float().flatten(1).T, dim=-1)
    alike = unit @ unit.T
    alike = (alike - center * alike.mean()) * sharpness
    alike.fill_diagonal_(float(alike.diagonal().mean().clamp(min=0)))
    return alike.masked_fill_(alike < 0, -torch.inf).softmax(-1)


def nearness(grid: tuple[int, int], reach: float, like: torch.Tensor) -> torch.Tensor:
    """Compute a Gaussian of the distance between all places of a grid, (H * W, H * W), 1 on the diagonal."""
    sides = [torch.arange(side, dtype=like.dtype, device=like.device) / side for side in grid]
    places = torch.cartesian_prod(*sides)
    return torch.exp(-(torch.cdist(places, places) ** 2) / (2 * reach**2))


def finest(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Choose the finest of some features, (1, C, H, W) each, that has at most `SIDE` rows and columns."""
    fitting = [level for level in levels if max(level.shape[-2:]) <= SIDE]
    return max(fitting or [levels[-1]], key=lambda level: level.shape[-1])
