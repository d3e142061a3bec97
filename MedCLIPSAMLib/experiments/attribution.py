"""Alternatives to M2IB on the same model, which the paper's table of attributions compares.

GradCAM (Selvaraju et al., ICCV 2017) weighs each channel of a block's patch tokens by the mean gradient of the
similarity with the text. gScoreCAM (Chen et al., ACCV 2022) takes the channels with the largest mean gradient, shows
the model the image through each of them as a mask, and weighs them by the softmax of the similarities. Both keep the
positive part.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..segmentation.result import Localization
from ..segmentation.saliency import normalize
from ..segmentation.saliency_map import SaliencyMap
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.vision_tower import VisionTower

CHANNELS = 300 / 768
"""Share of the channels that gScoreCAM takes: its authors' 300 of a ViT-B/16."""
MASKS_AT_ONCE = 16
"""Number of masked images that the model encodes at once."""


def grad_cam(tower: VisionTower, pixels: torch.Tensor, text: torch.Tensor, layer: int) -> torch.Tensor:
    """Compute GradCAM of one image for a text at the output of a block: (h, w) float32, not normalized.

    Args:
        pixels: (1, 3, S, S), as `clip.preprocess` gives them.
        text: (D,), L2-normalized.
        layer: counted from 0.
    """
    activations, gradient = _activations(tower, pixels, text, layer)
    return (activations * gradient.mean(0)).sum(-1).clamp(min=0).reshape(tower.grid)


def g_score_cam(
    tower: VisionTower,
    pixels: torch.Tensor,
    text: torch.Tensor,
    layer: int,
    scale: float,
    channels: float = CHANNELS,
) -> torch.Tensor:
    """Compute gScoreCAM of one image for a text, see `grad_cam`.

    Args:
        scale: factor of the similarities before their softmax, the model's logit scale.
        channels: share of the channels that are taken.
    """
    activations, gradient = _activations(tower, pixels, text, layer)
    count = max(1, round(channels * activations.shape[1]))
    chosen = gradient.mean(0).topk(count).indices
    maps = activations[:, chosen].T.reshape(1, count, *tower.grid)
    masks = normalize(F.interpolate(maps, pixels.shape[-2:], mode="bilinear", align_corners=True))[0]
    scores = torch.cat([_similarity(tower, part[:, None] * pixels, text, layer) for part in masks.split(MASKS_AT_ONCE)])
    weights = (scale * scores).softmax(0)
    return torch.einsum("k,khw->hw", weights, maps[0]).clamp(min=0)


@torch.no_grad()
def _similarity(tower: VisionTower, pixels: torch.Tensor, text: torch.Tensor, layer: int) -> torch.Tensor:
    return tower.features_from(tower.tokens_at(pixels, layer), layer) @ text


def _activations(
    tower: VisionTower, pixels: torch.Tensor, text: torch.Tensor, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the patch tokens that leave a block, and the gradient of the similarity by them, (h * w, C) each."""
    tokens = tower.tokens_at(pixels, layer).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad((tower.features_from(tokens, layer) @ text).sum(), tokens)
    return tokens.detach()[0, tower.prefix :], gradient[0, tower.prefix :]


def locate_by(method: Callable[..., torch.Tensor]) -> Callable[[TextSegmenter, str, Localization], Localization]:
    """Make a function that locates a prompt by `grad_cam` or `g_score_cam` at M2IB's block; the presence stays."""

    def locate(segmenter: TextSegmenter, prompt: str, where: Localization) -> Localization:
        clip, text = segmenter.clip, segmenter.text_features(prompt)
        more = {"scale": float(clip.model.logit_scale.exp())} if method is g_score_cam else {}
        layer = segmenter.settings.saliency_for(prompt).layer
        pixels = clip.preprocess(segmenter.images[0][None])
        values = method(VisionTower(clip.model.visual), pixels, text, layer, **more)
        return Localization(SaliencyMap(values.cpu().numpy(), where.map.shape), where.presence)

    return locate
