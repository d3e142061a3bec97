"""The starter CLIP's image tower: a small vision transformer whose patches come from a few small convolutions.

A stem of strided 3 x 3 convolutions in place of one large stride trains faster and more steadily (Xiao et al., Early
Convolutions Help Transformers See Better, NeurIPS 2021).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from .vision_transformer import VisionTransformer

STEM_CHANNELS = (48, 96, 192)
"""Output channels of the stem's convolutions, each of which halves height and width."""
PATCH = 2 ** len(STEM_CHANNELS)
GROUPS = 8
"""Groups of the stem's group norms."""


class ConvolutionalStem(nn.Module):
    """Patches of 8 x 8 pixels as tokens, in reading order: (N, 3, S, S) to (N, patches, width).

    Args:
        image_size: S, in pixels.
    """

    def __init__(self, image_size: int, width: int) -> None:
        super().__init__()
        if image_size % PATCH:
            raise ValueError(f"Expected an image size that patches of {PATCH} pixels divide, got {image_size}")
        side = image_size // PATCH
        self.grid_size = side, side
        layers: list[nn.Module] = []
        for before, after in pairwise((3, *STEM_CHANNELS)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(GROUPS, after), nn.GELU()]
        self.proj = nn.Sequential(*layers, nn.Conv2d(STEM_CHANNELS[-1], width, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed the patches of images: (N, 3, S, S) to (N, patches, width)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


def build(image_size: int) -> VisionTransformer:
    """Build a ViT for 224 x 224 images: patch 8, width 256, depth 8, 4 heads, no class token, average pooling."""
    return VisionTransformer(image_size, ConvolutionalStem, 256, 8, 4, "avg")
