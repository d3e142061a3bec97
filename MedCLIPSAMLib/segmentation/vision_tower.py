"""A vision transformer cut in two after a block, so that the first part is computed only once.

It works with timm's VisionTransformer within open_clip's TimmModel, as in BiomedCLIP, and with that of the small
shipped models. The model is not modified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import InputError, ModelError
from ..models.vision_transformer import VisionTransformer

if TYPE_CHECKING:
    from ..models.open_clip_model import TimmTrunk


class VisionTower:
    """The two halves of a vision transformer.

    Args:
        visual: the image tower of a text-image model.

    Attributes:
        depth: number of blocks.
        grid: (h, w) of the patch tokens.
        prefix: number of tokens before the patch tokens (1 with a class token).

    Raises:
        ModelError: the tower is not a VisionTransformer with class-token or average pooling, or its weights are not
            float32.
    """

    def __init__(self, visual: nn.Module) -> None:
        self.trunk = _find_trunk(visual)
        if any(dtype != torch.float32 for dtype in self.trunk.dtypes()):
            raise ModelError(
                "This model's weights are not float32.",
                "Load it in float32 and set the precision to bf16, which rounds matrix products only.",
            )
        self.head: Any = visual.head
        self.depth, self.grid = len(self.trunk.blocks), self.trunk.grid_size
        self.prefix = self.trunk.num_prefix_tokens

    @property
    def layers(self) -> range:
        """The blocks that M2IB can use; with a class token not the last one, as its patch tokens are unused."""
        return range(self.depth - (self.trunk.global_pool == "token"))

    def check_layer(self, layer: int) -> None:
        """Refuse a block that is not in `layers`.

        Raises:
            InputError: the block is not in `layers`; the message names the possible blocks.
        """
        if layer not in self.layers:
            raise InputError(
                f"Expected a layer from 0 to {self.layers[-1]} for M2IB, got {layer}.", "Choose one of these blocks."
            )

    @torch.no_grad()
    def tokens_at(self, pixels: torch.Tensor, layer: int) -> torch.Tensor:
        """Compute the output of block `layer` (0-based): pixels (N, 3, S, S) to tokens (N, T, C)."""
        tokens = self.trunk.embed(pixels)
        for block in self.trunk.blocks[: layer + 1]:
            tokens = block(tokens)
        return tokens

    def features_from(self, tokens: torch.Tensor, layer: int) -> torch.Tensor:
        """Compute image features from the output tokens (N, T, C) of block `layer`: (N, D), L2-normalized.

        With class-token pooling, only the class token is computed in the last block, which is exact.
        """
        trunk = self.trunk
        rest: list[Any] = list(trunk.blocks[layer + 1 :])
        class_only = trunk.global_pool == "token" and bool(rest) and trunk.is_plain(rest[-1])
        for block in rest[:-1] if class_only else rest:
            tokens = block(tokens)
        if class_only:
            tokens = _class_token_of(rest[-1], tokens)
        return F.normalize(self.head(trunk.pool(trunk.norm(tokens))).float(), dim=-1)


def _find_trunk(visual: nn.Module) -> VisionTransformer | TimmTrunk:
    trunk = getattr(visual, "trunk", None)
    if isinstance(trunk, VisionTransformer):
        return trunk
    from ..models.open_clip_model import TimmTrunk

    try:
        return TimmTrunk(trunk)
    except ValueError as error:
        raise ModelError(
            f"Expected a VisionTransformer as image tower, got a {type(trunk).__name__}: {error}.",
            "M2IB needs one, such as BiomedCLIP's.",
        ) from error


def _class_token_of(block: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Compute the class token after `block`: (N, T, C) to (N, 1, C).

    The key and value projections are absorbed: q . (W_k h + b_k) = (W_k^T q) . h + const, where the constant cancels in
    the softmax, and W_v is applied to the average of h instead of to each token.
    """
    attention, width = block.attn, tokens.shape[-1]
    heads = attention.num_heads
    weight_q, weight_k, weight_v = attention.qkv.weight.reshape(3, width, width)
    bias = attention.qkv.bias if attention.qkv.bias is not None else tokens.new_zeros(3 * width)
    normed = block.norm1(tokens)
    query = F.linear(normed[:, 0], weight_q, bias[:width]).unflatten(-1, (heads, -1)) * attention.scale
    probe = torch.einsum("nhd,hdc->nhc", query, weight_k.unflatten(0, (heads, -1)))
    share = torch.einsum("nhc,ntc->nht", probe, normed).softmax(-1)
    average = torch.einsum("nht,ntc->nhc", share, normed)
    value = torch.einsum("nhc,hdc->nhd", average, weight_v.unflatten(0, (heads, -1))).flatten(1) + bias[2 * width :]
    token = tokens[:, 0] + block.ls1(attention.proj(value))
    return (token + block.ls2(block.mlp(block.norm2(token))))[:, None]
