"""The demo CLIP's vision tower: a small timm VisionTransformer under a name that open_clip's TimmModel can ask for."""

from __future__ import annotations

from typing import Any

from .timm_open_clip import VisionTransformer, register_model


@register_model
def medclipsam_demo_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT for 128 x 128 images: patch 8, width 128, depth 4, 4 heads, no class token, average pooling."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(name, None)
    shape = {"img_size": 128, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}
    model = VisionTransformer(**{**shape, "class_token": False, "global_pool": "avg", "num_classes": 0, **kwargs})
    model.default_cfg = {}
    return model
