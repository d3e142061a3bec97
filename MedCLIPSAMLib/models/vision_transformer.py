"""The image tower of the small shipped models: a vision transformer with the parameter names of timm.

It is written in torch alone, since timm imports torchvision and with it torch's compiler, which takes seconds. The
architecture is that of Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021. BiomedCLIP's image tower comes
from timm; see `open_clip_model`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

EPSILON = 1e-6
"""Epsilon of the layer norms."""

Pool = Literal["token", "avg"]


class PatchEmbed(nn.Module):
    """The embedding of square patches as tokens, in reading order: (N, 3, S, S) to (N, patches, width)."""

    def __init__(self, image_size: int, patch_size: int, width: int) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(f"Expected an image size that is a multiple of {patch_size} pixels, got {image_size}")
        side = image_size // patch_size
        self.grid_size = side, side
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed the patches of images: (N, 3, S, S) to (N, patches, width)."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention of tokens (N, T, C), with the query, key and value matrices joined into one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"Expected a width that is divisible by {heads} heads, got {width}")
        self.num_heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply self-attention: (N, T, C) to (N, T, C)."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply the MLP: (N, T, C) to (N, T, C)."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """A transformer layer that normalizes before attention and before the MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
        self.attn, self.mlp = Attention(width, heads), Mlp(width, 4 * width)
        self.ls1, self.ls2 = nn.Identity(), nn.Identity()  # timm's layer scale

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply the layer: (N, T, C) to (N, T, C)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """A vision transformer without a classifier: pixels (N, 3, S, S) to features (N, C).

    Args:
        image_size: S, in pixels.
        embed: builds the patch embedding, given S and C; its `grid_size` is the number of patches (h, w).
        width: C.
        depth: number of blocks.
        heads: attention heads in each block.
        global_pool: "token" adds a class token, whose features after a layer norm of all tokens are the image's; "avg"
            takes the mean of the patch tokens and then applies the layer norm.
    """

    def __init__(
        self,
        image_size: int,
        embed: Callable[[int, int], nn.Module],
        width: int,
        depth: int,
        heads: int,
        global_pool: Pool = "token",
    ) -> None:
        super().__init__()
        self.embed_dim, self.global_pool, self.num_prefix_tokens = width, global_pool, int(global_pool == "token")
        if self.num_prefix_tokens:
            self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        patch_embed: Any = embed(image_size, width)
        self.patch_embed: nn.Module = patch_embed
        self.grid_size: tuple[int, int] = patch_embed.grid_size
        patches = self.grid_size[0] * self.grid_size[1]
        self.pos_embed = nn.Parameter(torch.empty(1, self.num_prefix_tokens + patches, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, EPSILON) if global_pool == "token" else nn.Identity()
        self.fc_norm = nn.LayerNorm(width, EPSILON) if global_pool == "avg" else nn.Identity()
        self._initialize()

    def dtypes(self) -> set[torch.dtype]:
        """Return the dtypes of the patch embedding's and first block's weights; the other blocks have the same."""
        parts = (self.patch_embed, self.blocks[0])
        return {parameter.dtype for part in parts for parameter in part.parameters()}

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the tokens before the first block: (N, 3, S, S) to (N, T, C), the class token first."""
        tokens = self.patch_embed(pixels)
        if self.num_prefix_tokens:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1)
        return tokens + self.pos_embed

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the tokens after the last block, (N, 3, S, S) to (N, T, C); normalized if there is a class token."""
        tokens = self.embed(pixels)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pool the output of `forward_features` to features (N, C)."""
        return self.fc_norm(tokens[:, 0] if self.global_pool == "token" else tokens.mean(1))

    def norm_patches(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalize patch tokens (N, T, C) from the last block as the pooled features are."""
        return self.fc_norm(self.norm(tokens))

    def is_plain(self, block: nn.Module) -> bool:
        """Tell whether a block is pre-norm with nothing but attention and an MLP inside, as these blocks are."""
        return isinstance(block, Block)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels (N, 3, S, S) to features (N, C)."""
        return self.pool(self.forward_features(pixels))

    def _initialize(self) -> None:
        """Initialize the weights from a truncated normal distribution with standard deviation 0.02, as timm does."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        if self.num_prefix_tokens:
            nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
