"""The text tower of the small shipped models: BERT with the parameter names of transformers.

It is written in torch alone, since transformers imports torch's compiler and torch.distributed, which takes seconds.
The architecture is that of Devlin et al., BERT, NAACL 2019. BiomedCLIP's text tower comes from transformers; see
`open_clip_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

LARGEST = 1 << 20
"""Maximum of any number in a configuration; a BERT's are far smaller."""

_ONLY = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
"""Entries of a configuration that may have only one value."""


@dataclass(frozen=True)
class BertConfig:
    """The entries of config.json that shape a BERT, with the defaults of transformers.

    Raises:
        ValueError: a number that no BERT can have.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    pad_token_id: int = 0
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        for field in fields(self):
            value, is_integer = getattr(self, field.name), isinstance(field.default, int)
            if isinstance(value, bool) or not isinstance(value, int if is_integer else int | float):
                raise ValueError(f"{field.name} is {str(value)[:50]}")
            minimum, maximum = (int(field.name != "pad_token_id"), LARGEST) if is_integer else (0, 0.99)
            if not minimum <= value <= maximum:
                raise ValueError(f"{field.name} is {str(value)[:50]}")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(f"{self.num_attention_heads} heads do not divide a width of {self.hidden_size}")
        if self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id is {self.pad_token_id} in a vocabulary of {self.vocab_size}")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> BertConfig:
        """Read the entries from the contents of a config.json.

        Raises:
            ValueError: the model is not a BERT, or has a number that no BERT can have.
        """
        for name, value in _ONLY.items():
            found = config.get(name, None if name == "model_type" else value)
            if found != value:
                raise ValueError(f"Expected {name} '{value}', got {str(found)[:50]!r}")
        return cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})


class _Embeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = self.position_embeddings(torch.arange(ids.shape[1], device=ids.device))
        tokens = self.word_embeddings(ids) + self.token_type_embeddings(torch.zeros_like(ids)) + positions
        return self.dropout(self.LayerNorm(tokens))


class _SelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(config.hidden_size, config.hidden_size) for _ in range(3))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(2)


class _Output(nn.Module):
    """A projection to the width of the tokens, followed by a residual connection and a layer norm."""

    def __init__(self, width: int, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dropout(self.dense(features)) + tokens)


class _Layer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        parts = {"self": _SelfAttention(config), "output": _Output(config.hidden_size, config)}
        self.attention = nn.ModuleDict(parts)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.intermediate_size)})
        self.output = _Output(config.intermediate_size, config)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        tokens = self.attention["output"](self.attention["self"](tokens, mask), tokens)
        return self.output(F.gelu(self.intermediate["dense"](tokens)), tokens)


class _Encoder(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        for layer in self.layer:
            tokens = layer(tokens, mask)
        return tokens


class Bert(nn.Module):
    """BERT without a head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx].detach())

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Encode token ids (N, L) int64 to tokens (N, L, C); the mask (N, L) bool is False at padding."""
        return self.encoder(self.embeddings(ids), mask[:, None, None, :])


class TextTower(nn.Module):
    """The text tower, from token ids (N, L) to features (N, D): BERT, pooling and a projection, as in open_clip.

    Args:
        config: shape of the BERT.
        embed_dim: D.
        pooler: "cls_last_hidden_state_pooler" takes the first token; "mean_pooler" takes the mean of all tokens but
            padding.
        projection: "linear"; or "mlp", two linear layers with a GELU, whose hidden width is the mean of both widths.

    Raises:
        ValueError: the pooler or the projection is unknown.
    """

    def __init__(self, config: BertConfig, embed_dim: int, pooler: str, projection: str) -> None:
        super().__init__()
        self.config, self.transformer = config, Bert(config)
        width, between = config.hidden_size, (config.hidden_size + embed_dim) // 2
        if pooler not in ("cls_last_hidden_state_pooler", "mean_pooler"):
            raise ValueError(f"hf_pooler_type is {pooler[:50]!r}")
        self._mean = pooler == "mean_pooler"
        self.proj: nn.Module
        if projection == "linear":
            self.proj = nn.Linear(width, embed_dim, bias=False)
        elif projection == "mlp":
            first, last = nn.Linear(width, between, bias=False), nn.Linear(between, embed_dim, bias=False)
            self.proj = nn.Sequential(first, nn.GELU(), last)
        else:
            raise ValueError(f"hf_proj_type is {projection[:50]!r}")

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Encode token ids (N, L) int64 to features (N, D)."""
        mask = ids != self.config.pad_token_id
        tokens = self.transformer(ids, mask)
        if not self._mean:
            return self.proj(tokens[:, 0])
        return self.proj((tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
