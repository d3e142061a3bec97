"""The demo CLIP's image tower: a small vision transformer."""

from __future__ import annotations

from .vision_transformer import PatchEmbed, VisionTransformer


def build(image_size: int) -> VisionTransformer:
    """Build a ViT for 128 x 128 images: patch 8, width 128, depth 4, 4 heads, no class token, average pooling."""
    return VisionTransformer(image_size, lambda side, width: PatchEmbed(side, 8, width), 128, 4, 4, "avg")
