"""Parts of sam2 that compute position embeddings only once, and attend to the memory in float32.

The class of a part is changed in place, so that its weights and their names stay the same. What a part caches belongs
to that instance, so that models can be copied and pickled.
"""

from __future__ import annotations

from typing import Any

import torch
from sam2.modeling import memory_attention, position_encoding
from sam2.modeling.backbones import hieradet
from sam2.modeling.sam import prompt_encoder


class Hiera(hieradet.Hiera):
    """The trunk of the image encoder, with a position embedding that is cached until the weights or the size change."""

    _kept: tuple[tuple, torch.Tensor] | None = None

    def _get_pos_embed(self, hw: Any) -> torch.Tensor:
        """Return the position embedding for a size (h, w), as (1, h, w, C); overrides sam2's method."""
        weights = self.pos_embed, self.pos_embed_window
        if torch.is_grad_enabled() and weights[0].requires_grad:
            return super()._get_pos_embed(hw)
        key = tuple(hw), *((weight._version, weight.device, weight.dtype) for weight in weights)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, super()._get_pos_embed(hw)
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the cached embedding: the version counters of a copied weight start at 0."""
        return {name: value for name, value in self.__dict__.items() if name != "_kept"}


class PositionEmbeddingSine(position_encoding.PositionEmbeddingSine):
    """Position embeddings, which depend only on an image's size, without a copy for every image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode the positions of features (N, C, H, W), in the same shape and dtype."""
        key = x.shape[-2:], x.device, x.dtype
        if key not in self.cache:
            self.cache[key] = super().forward(x[:1]).to(x.dtype)
        return self.cache[key].expand(len(x), -1, -1, -1)


class MemoryAttention(memory_attention.MemoryAttention):
    """Attention to the memory, which sam2 keeps in bfloat16 and leaves so if no object pointer is joined to it."""

    def forward(self, curr: Any, memory: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        """Attend to the memory, (M, N, C) of any dtype, in the dtype of the weights."""
        return super().forward(curr, memory.to(self.norm.weight.dtype), *args, **options)


class PromptEncoder(prompt_encoder.PromptEncoder):
    """A prompt encoder whose embeddings have the dtype of its weights, whatever the program's default dtype is."""

    def forward(self, *args: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode prompts to embeddings (B, N, C) and (B, C, h, w)."""
        sparse, dense = super().forward(*args, **options)
        return sparse.to(dense.dtype), dense


class Linear(torch.nn.Linear):
    """The projection of the distances between slices, which have the program's default dtype."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Project numbers of any dtype, (..., in_features) to (..., out_features)."""
        return super().forward(input.to(self.weight.dtype))


def use_own(part: torch.nn.Module, kind: type[torch.nn.Module]) -> None:
    """Change the class of a part of sam2 to one that extends it; raise TypeError if the part is of another class."""
    (expected,) = kind.__bases__
    if type(part) is not expected:
        raise TypeError(f"expected a {expected.__name__}, got a {type(part).__name__}")
    part.__class__ = kind
