"""The small shipped text-image models: an image tower and a text tower, with the parameter names of open_clip.

They need only torch, so that they load quickly. All other models are open_clip's; see `open_clip_model`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from .own_towers import OWN_TOWERS
from .text_transformer import BertConfig, TextTower
from .vision_transformer import VisionTransformer

if TYPE_CHECKING:
    from open_clip.model import CustomTextCLIP


class VisualTower(nn.Module):
    """The image tower, from pixels (N, 3, S, S) to features (N, D): a transformer `trunk` and a linear `head`."""

    def __init__(self, trunk: VisionTransformer, embed_dim: int) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Sequential()
        self.head.add_module("proj", nn.Linear(trunk.embed_dim, embed_dim, bias=False))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (N, 3, S, S) to features (N, D)."""
        return self.head(self.trunk(pixels))


class ImageTextModel(nn.Module):
    """An image tower and a text tower that encode into one space, and the scale of their logits.

    Args:
        visual: maps pixels (N, 3, S, S) to features (N, D).
        text: maps token ids (N, L) to features (N, D).
    """

    def __init__(self, visual: VisualTower, text: TextTower) -> None:
        super().__init__()
        self.visual, self.text = visual, text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels to features (N, D), not normalized."""
        return self.visual(pixels)

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        """Encode token ids to features (N, D), not normalized."""
        return self.text(ids)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode pixels and token ids to L2-normalized features, (N, D) each."""
        return F.normalize(self.visual(pixels), dim=-1), F.normalize(self.text(ids), dim=-1)


TextImageModel: TypeAlias = "ImageTextModel | CustomTextCLIP"
"""A model of either kind: both have `visual`, `text`, `logit_scale`, `encode_image` and `encode_text`."""


def is_own(config: Mapping[str, Any]) -> bool:
    """Tell whether the `model_cfg` of an open_clip_config.json names one of this package's image towers."""
    return str(config["vision_cfg"].get("timm_model_name")) in OWN_TOWERS


def build(config: Mapping[str, Any], bert: Mapping[str, Any]) -> ImageTextModel:
    """Build a model with random weights from the `model_cfg` of open_clip_config.json and a BERT's config.json.

    Raises:
        KeyError, TypeError, ValueError: an entry is missing, or describes a model that is not of this kind.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    width = config["embed_dim"]
    if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 1 << 16:
        raise ValueError(f"embed_dim is {str(width)[:50]}")
    trunk = OWN_TOWERS[vision["timm_model_name"]](vision["image_size"])
    if vision.get("timm_pool") not in ("", trunk.global_pool) or vision.get("timm_proj") != "linear":
        raise ValueError(f"the image tower ends in '{vision.get('timm_pool')}' and '{vision.get('timm_proj')}'")
    pooler, projection = (str(text.get(name)) for name in ("hf_pooler_type", "hf_proj_type"))
    tower = TextTower(BertConfig.read(bert), width, pooler, projection)
    return ImageTextModel(VisualTower(trunk, width), tower)
