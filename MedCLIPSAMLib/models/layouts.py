"""BiomedCLIP's weights in two layouts: open_clip's, and the Hugging Face one of `chuhac/BiomedCLIP-vit-bert-hf`.

The authors of MedCLIP-SAMv2 publish their weights in the Hugging Face layout. It has other names, and its image tower
has separate query, key and value matrices, which open_clip (timm) joins into one. Both hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..counted import list_names
from ..errors import ModelError

State = Mapping[str, torch.Tensor]

_VISION_BLOCK = {
    "layer_norm1": "norm1",
    "self_attn.qkv": "attn.qkv",
    "self_attn.out_proj": "attn.proj",
    "layer_norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_TEXT_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "layer_norm1": "attention.output.LayerNorm",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "layer_norm2": "output.LayerNorm",
}
_MODULES = {
    "vision_model.embeddings.patch_embedding": "visual.trunk.patch_embed.proj",
    "vision_model.post_layernorm": "visual.trunk.norm",
    "text_model.embeddings.layer_norm": "text.transformer.embeddings.LayerNorm",
}
_CLASS_TOKEN, _POSITIONS = (
    "vision_model.embeddings.class_embedding",
    "vision_model.embeddings.position_embedding.weight",
)
_TENSORS = {
    "logit_scale": "logit_scale",
    _CLASS_TOKEN: "visual.trunk.cls_token",
    _POSITIONS: "visual.trunk.pos_embed",
    "visual_projection.weight": "visual.head.proj.weight",
    "text_model.embeddings.token_embedding.weight": "text.transformer.embeddings.word_embeddings.weight",
    "text_model.embeddings.position_embedding.weight": "text.transformer.embeddings.position_embeddings.weight",
    "text_model.embeddings.token_type_embedding.weight": "text.transformer.embeddings.token_type_embeddings.weight",
    "text_projection.fc1.weight": "text.proj.0.weight",
    "text_projection.fc2.weight": "text.proj.2.weight",
}
VISION_EPSILON = 1e-12
"""Epsilon of the image tower's layer norms in the Hugging Face layout; timm's is 1e-6."""
_BUFFERS = (".position_ids", ".token_type_ids")
"""Endings of the names of constants that some versions of transformers save with the weights."""


def is_hugging_face(state: State) -> bool:
    """Tell whether the weights are in the Hugging Face layout."""
    return any(name.startswith(("vision_model.", "text_model.")) for name in state)


def without_buffers(state: State) -> dict[str, torch.Tensor]:
    """Return the weights without the constants that are saved with them."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(_BUFFERS)}


def to_open_clip(state: State) -> dict[str, torch.Tensor]:
    """Convert weights in the Hugging Face layout to open_clip's names and shapes.

    Raises:
        ModelError: a query, key or value is missing, or a name belongs to neither layout; the message names a few.
    """
    state = dict(state)
    for name in [name for name in state if name.startswith("vision_model.") and ".self_attn.q_proj." in name]:
        parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        if lacking := [part for part in parts if part not in state]:
            raise ModelError(
                f"The weights lack {list_names(lacking)}.",
                "Get the file again; it must be BiomedCLIP in the Hugging Face layout.",
            )
        state[name.replace(".q_proj.", ".qkv.")] = torch.cat([state.pop(part) for part in parts])
    names = _names(state, "vision_model.encoder.layers.", "text_model.encoder.layers.")
    if strange := [name for name in state if name not in names]:
        raise ModelError(
            f"The weights have names that belong to neither layout: {list_names(strange)}.",
            "Get the file again; it must be BiomedCLIP in the Hugging Face layout.",
        )
    shaped = {_CLASS_TOKEN: (1, 1, -1), _POSITIONS: (1, *state[_POSITIONS].shape[-2:])} if _POSITIONS in state else {}
    return {names[name]: tensor.reshape(shaped.get(name, tensor.shape)) for name, tensor in state.items()}


def to_hugging_face(state: State) -> dict[str, torch.Tensor]:
    """Convert weights in open_clip's layout to Hugging Face's names and shapes: the inverse of `to_open_clip`.

    Raises:
        ModelError: the architecture is not BiomedCLIP's, so the layout has no names for some weights.
    """
    state = without_buffers(state)
    names = {
        open_clip: name
        for name, open_clip in _names(state, "visual.trunk.blocks.", "text.transformer.encoder.layer.").items()
    }
    if strange := [name for name in state if name not in names]:
        raise ModelError(
            f"The Hugging Face layout has no names for {list_names(strange)}.",
            "Only models of BiomedCLIP's architecture can be written in this layout.",
        )
    renamed = {names[name]: tensor for name, tensor in state.items()}
    for name in [name for name in renamed if ".self_attn.qkv." in name]:
        for part, tensor in zip("qkv", renamed.pop(name).chunk(3)):
            renamed[name.replace(".qkv.", f".{part}_proj.")] = tensor.clone()
    renamed[_CLASS_TOKEN], renamed[_POSITIONS] = renamed[_CLASS_TOKEN].flatten(), renamed[_POSITIONS].squeeze(0)
    return renamed


def set_layer_norm_epsilon(tower: torch.nn.Module) -> None:
    """Set the epsilon of all layer norms in an image tower to `VISION_EPSILON`."""
    for module in tower.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = VISION_EPSILON


def _names(state: State, vision_prefix: str, text_prefix: str) -> dict[str, str]:
    """Map the Hugging Face layout's names, with query, key and value of the image tower fused, to open_clip's names."""
    modules = dict(_MODULES)
    for layer in range(_depth(state, vision_prefix)):
        modules |= {
            f"vision_model.encoder.layers.{layer}.{a}": f"visual.trunk.blocks.{layer}.{b}"
            for a, b in _VISION_BLOCK.items()
        }
    for layer in range(_depth(state, text_prefix)):
        modules |= {
            f"text_model.encoder.layers.{layer}.{a}": f"text.transformer.encoder.layer.{layer}.{b}"
            for a, b in _TEXT_LAYER.items()
        }
    return _TENSORS | {f"{a}.{kind}": f"{b}.{kind}" for a, b in modules.items() for kind in ("weight", "bias")}


def _depth(state: State, prefix: str) -> int:
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)}
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=-1)
