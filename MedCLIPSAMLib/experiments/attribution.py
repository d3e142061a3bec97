"""Alternatives to M2IB on the same model, as compared in the paper's table of attribution methods.

GradCAM (Selvaraju et al., ICCV 2017) weights each channel of a block's patch tokens by the mean gradient of the
similarity to the text. gScoreCAM (Chen et al., ACCV 2022) takes the channels with the largest mean gradient, masks the
image with each of them, and weights them by the softmax of the masked images' similarities to the text. Both keep only
the positive part.
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
"""Fraction of the channels that gScoreCAM uses: its authors take 300 of a ViT-B/16's 768."""
MASKS_AT_ONCE = 16
"""Number of masked images per batch."""


def grad_cam(tower: VisionTower, pixels: torch.Tensor, text: torch.Tensor, layer: int) -> torch.Tensor:
    """Compute the GradCAM map of one image for a text at the output of a block.

    Args:
        pixels: (1, 3, S, S), as returned by `clip.preprocess`.
        text: (D,), L2-normalized.
        layer: index of the block, counted from 0.

    Returns:
        (h, w) float32, not normalized.
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
    """Compute the gScoreCAM map of one image for a text; see `grad_cam`.

    Args:
        scale: factor applied to the similarities before their softmax: the model's logit scale.
        channels: fraction of the channels to use.
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
    """Return a block's output patch tokens and the gradient of the similarity with respect to them, (h * w, C) each."""
    tokens = tower.tokens_at(pixels, layer).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad((tower.features_from(tokens, layer) @ text).sum(), tokens)
    return tokens.detach()[0, tower.prefix :], gradient[0, tower.prefix :]


def locate_by(method: Callable[..., torch.Tensor]) -> Callable[[TextSegmenter, str, Localization], Localization]:
    """Make a function that locates a prompt by `grad_cam` or `g_score_cam` at M2IB's block and keeps the presence."""

    def locate(segmenter: TextSegmenter, prompt: str, where: Localization) -> Localization:
        clip, text = segmenter.clip, segmenter.text_features(prompt)
        more = {"scale": float(clip.model.logit_scale.exp())} if method is g_score_cam else {}
        layer = segmenter.settings.saliency_for(prompt).layer
        pixels = clip.preprocess(segmenter.images[0][None])
        values = method(VisionTower(clip.model.visual), pixels, text, layer, **more)
        return Localization(SaliencyMap(values.cpu().numpy(), where.map.shape), where.presence)

    return locate
