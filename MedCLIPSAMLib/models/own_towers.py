"""The image towers of the small shipped models, under their names in open_clip_config.json."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from .vision_transformer import PatchEmbed, VisionTransformer

STEM_CHANNELS = (48, 96, 192)
"""Output channels of the stem's convolutions, each of which halves the height and width."""
PATCH = 2 ** len(STEM_CHANNELS)
GROUPS = 8
"""Groups of the stem's group norms."""


class ConvolutionalStem(nn.Module):
    """The embedding of patches of 8 x 8 pixels as tokens, in reading order: (N, 3, S, S) to (N, patches, width).

    A stem of strided 3 x 3 convolutions trains faster and more stably than a single convolution with a large stride
    (Xiao et al., Early Convolutions Help Transformers See Better, NeurIPS 2021).

    Args:
        image_size: S, in pixels.
        width: channels of the tokens.
    """

    def __init__(self, image_size: int, width: int) -> None:
        super().__init__()
        if image_size % PATCH:
            raise ValueError(f"Expected an image size that is a multiple of {PATCH} pixels, got {image_size}")
        side = image_size // PATCH
        self.grid_size = side, side
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *STEM_CHANNELS)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(GROUPS, after), nn.GELU()]
        self.proj = nn.Sequential(*layers, nn.Conv2d(STEM_CHANNELS[-1], width, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed the patches of images: (N, 3, S, S) to (N, patches, width)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


def demo_vit(image_size: int = 128) -> VisionTransformer:
    """Build the demo CLIP's tower: patch size 8, width 128, depth 4, 4 heads, no class token, average pooling."""
    return VisionTransformer(image_size, lambda side, width: PatchEmbed(side, 8, width), 128, 4, 4, "avg")


def starter_vit(image_size: int = 224) -> VisionTransformer:
    """Build the starter CLIP's tower: patch size 8, width 256, depth 8, 4 heads, no class token, average pooling."""
    return VisionTransformer(image_size, ConvolutionalStem, 256, 8, 4, "avg")


OWN_TOWERS: dict[str, Callable[..., VisionTransformer]] = {
    "medclipsam_demo_vit": demo_vit,
    "medclipsam_starter_vit": starter_vit,
}
"""Functions that build each tower, given the edge of its input images in pixels."""


def register_image_towers() -> None:
    """Register the towers with timm, so that open_clip can load exported models; calling it again does no harm."""
    from timm.models import is_model, register_model

    for name, build in OWN_TOWERS.items():
        if not is_model(name):
            register_model(_entry(name, build))


def _entry(name: str, build: Callable[..., VisionTransformer]) -> Callable[..., VisionTransformer]:
    """Return the function that timm calls to build a tower."""

    def make(pretrained: bool = False, **options: Any) -> VisionTransformer:
        tower: Any = build()
        tower.default_cfg, tower.num_features = {}, tower.embed_dim
        tower.reset_classifier = lambda *args, **options: None  # it has none
        return tower

    make.__name__ = name
    return make
