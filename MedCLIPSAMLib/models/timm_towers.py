"""Image towers of the shipped models, registered with timm for programs that load exported models by open_clip."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from .image_text import OWN_TOWERS
from .vision_transformer import VisionTransformer

SIZES = {"medclipsam_demo_vit": 128, "medclipsam_starter_vit": 224}
"""Edge of the images that each tower takes, in pixels."""


def register_image_towers() -> None:
    """Register the shipped models' towers with timm, so that open_clip can load them."""
    from timm.models import register_model

    for name in OWN_TOWERS:
        register_model(_entry(name))


def _entry(name: str) -> Callable[..., VisionTransformer]:
    """Return the function that timm calls to make a tower."""

    def make(pretrained: bool = False, **options: Any) -> VisionTransformer:
        tower: Any = import_module(f".{OWN_TOWERS[name]}", __package__).build(SIZES[name])
        tower.default_cfg, tower.num_features = {}, tower.embed_dim
        tower.reset_classifier = lambda *args, **options: None  # it has none
        return tower

    make.__name__ = name
    return make
