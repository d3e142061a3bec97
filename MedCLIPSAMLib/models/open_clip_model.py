"""Models whose towers come from open_clip and timm: BiomedCLIP, and all others except the small shipped models.

This module is imported only when such a model is loaded, since both packages import torch's compiler, which takes
seconds. nnunetv2 requires timm before 1.0.23, whose import warns of deprecations in torch 2.14. These warnings are
suppressed, since users can do nothing about them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.interface` is deprecated", FutureWarning)
    from open_clip.model import CustomTextCLIP
    from timm.models.vision_transformer import Attention, Block, VisionTransformer


def build_open_clip(config: Mapping[str, Any], folder: Path) -> CustomTextCLIP:
    """Build a model with random weights from the `model_cfg` of open_clip_config.json, without the network.

    Args:
        config: the contents of `model_cfg`.
        folder: the folder with the text tower's config.json.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, RuntimeError: raised by open_clip and timm for a configuration
            that is not of this kind.
    """
    vision = config["vision_cfg"] | {"timm_model_pretrained": False}
    if ":" in str(vision.get("timm_model_name")):  # timm would look for "hf-hub:NAME" on the network
        raise ValueError(f"the image tower '{vision['timm_model_name']}' would be loaded from elsewhere")
    text = config["text_cfg"] | {"hf_model_name": str(folder), "hf_model_pretrained": False}
    return CustomTextCLIP(config["embed_dim"], vision, text)


class TimmTrunk:
    """A timm VisionTransformer with the interface of `vision_transformer.VisionTransformer` that saliency needs.

    Raises:
        ValueError: the trunk is of another kind, or pools otherwise than by class token or average.
    """

    def __init__(self, trunk: nn.Module | None) -> None:
        if not isinstance(trunk, VisionTransformer) or trunk.global_pool not in ("token", "avg"):
            raise ValueError("expected a timm VisionTransformer with class-token or average pooling")
        module: Any = trunk
        self._trunk = module
        self.blocks: list[Any] = list(module.blocks)
        self.norm: nn.Module = module.norm
        self.global_pool: str = module.global_pool
        self.grid_size: tuple[int, int] = module.patch_embed.grid_size
        self.num_prefix_tokens: int = module.num_prefix_tokens

    def dtypes(self) -> set[torch.dtype]:
        """Return the dtypes of the patch embedding's and first block's weights; the other blocks have the same."""
        parts = (self._trunk.patch_embed, self.blocks[0])
        return {parameter.dtype for part in parts for parameter in part.parameters()}

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the tokens before the first block: (N, 3, S, S) to (N, T, C)."""
        trunk = self._trunk
        return trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pool the normalized tokens from the last block to features (N, C)."""
        return self._trunk.forward_head(tokens)

    def norm_patches(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalize patch tokens (N, T, C) from the last block as the pooled features are."""
        return self._trunk.fc_norm(self.norm(tokens))

    def is_plain(self, block: Any) -> bool:
        """Tell whether a block is pre-norm, with heads as wide as the tokens together, and no inner norm or gate."""
        if type(block) is not Block or type(block.attn) is not Attention:
            return False
        attention: Any = block.attn
        inner = (attention.q_norm, attention.k_norm, getattr(attention, "norm", None), getattr(attention, "gate", None))
        as_wide = attention.qkv.out_features == 3 * attention.qkv.in_features
        return as_wide and all(part is None or isinstance(part, nn.Identity) for part in inner)
