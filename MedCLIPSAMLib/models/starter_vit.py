"""The starter CLIP's vision tower: a small timm VisionTransformer whose patches come from a few small convolutions.

A stem of strided 3 x 3 convolutions in place of one large stride trains faster and more steadily (Xiao et al., Early
Convolutions Help Transformers See Better, NeurIPS 2021).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from .timm_open_clip import VisionTransformer, register_model

STEM_CHANNELS = (48, 96, 192)
"""Output channels of the stem's convolutions, each of which halves height and width."""
PATCH = 2 ** len(STEM_CHANNELS)
GROUPS = 8
"""Of the stem's group norms."""


class ConvolutionalStem(nn.Module):
    """What timm's `PatchEmbed` is to a VisionTransformer, with its attributes: (N, 3, S, S) to (N, patches, width).

    Args:
        img_size: S, in pixels.
        patch_size: edge of a patch; 8, since there are three convolutions.
        in_chans, embed_dim: channels of the image and of a token.
        options: what timm tells its own patch embedding besides; a square of one size has no use for it.
    """

    strict_img_size = True

    def __init__(
        self, img_size: int = 224, patch_size: int = PATCH, in_chans: int = 3, embed_dim: int = 256, **options: Any
    ) -> None:
        super().__init__()
        if patch_size != PATCH or img_size % PATCH:
            raise ValueError(f"Expected patches of {PATCH} and an image size that they divide, got {img_size}")
        side = img_size // PATCH
        self.img_size, self.patch_size = (img_size, img_size), (PATCH, PATCH)
        self.grid_size, self.num_patches = (side, side), side * side
        layers: list[nn.Module] = []
        for before, after in pairwise((in_chans, *STEM_CHANNELS)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(GROUPS, after), nn.GELU()]
        self.proj = nn.Sequential(*layers, nn.Conv2d(STEM_CHANNELS[-1], embed_dim, 1))

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Pixels of an edge by tokens of an edge, as timm asks for it."""
        return PATCH if as_scalar else self.patch_size

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Tokens by rows and columns of an image of that size, as timm asks for it."""
        return img_size[0] // PATCH, img_size[1] // PATCH

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tokens of pixels in reading order: (N, 3, S, S) to (N, patches, width)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


@register_model
def medclipsam_starter_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT for 224 x 224 images: patch 8, width 256, depth 8, 4 heads, no class token, average pooling."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(name, None)
    shape = {"img_size": 224, "patch_size": PATCH, "embed_dim": 256, "depth": 8, "num_heads": 4}
    stem = {"embed_layer": ConvolutionalStem, "class_token": False, "global_pool": "avg", "num_classes": 0}
    model = VisionTransformer(**{**shape, **stem, **kwargs})
    model.default_cfg = {}
    return model
