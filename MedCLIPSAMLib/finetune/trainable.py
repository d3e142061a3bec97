"""Which parameters of a text-image model are trained: all, the last layers, or low-rank additions (LoRA)."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, cast

import torch

from ..choices import Freeze, parse_choice
from ..errors import InputError, require_extra
from ..models.image_text import TextImageModel

_LORA_MODULES = (
    r".*(attn\.(qkv|proj)|mlp\.fc[12]|attention\.self\.(query|key|value)"
    r"|(attention\.output|intermediate|output)\.dense)"
)


def prepare(model: TextImageModel, freeze: Freeze = Freeze.NOTHING, lora_rank: int = 0) -> torch.nn.Module:
    """Set the trained parameters to require gradients; with LoRA, wrap the model by peft.

    The scale of the logits is never trained: the losses have their own temperature.

    Args:
        freeze: what stays as it is: "nothing"; the "image" or "text" tower; the "lower-half" of the layers of both and
            their embeddings; "all-but-heads", the projections into the common space.
        lora_rank: rank of the matrices that LoRA adds to each linear layer that is not frozen (Hu et al. 2021), which
            alone are trained; 0 trains the weights themselves.

    Raises:
        InputError: no such choice, nothing left to train, or the package peft is missing.
    """
    freeze = parse_choice(Freeze, freeze, "part to freeze")
    if lora_rank < 0:
        raise InputError(f"Expected a LoRA rank of 0 or more, got {lora_rank}.", "0 trains all weights.")
    frozen = _is_frozen(model, freeze)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen(name) and name != "logit_scale")
    trained = _with_lora(model, lora_rank, frozen) if lora_rank else model
    if not any(parameter.requires_grad for parameter in trained.parameters()):
        raise InputError(f"Nothing is left to train with '{freeze}' frozen.", "Freeze less, or leave LoRA out.")
    return trained


def merge_lora(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights under open_clip's names, with what LoRA learned added to them; copies on the CPU, float32."""
    if hasattr(model, "peft_config"):
        model = cast(Any, copy.deepcopy(model)).merge_and_unload()
    return {name: tensor.detach().float().cpu().clone() for name, tensor in model.state_dict().items()}


def select_trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters that are trained, by name: what a checkpoint must hold."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _with_lora(model: TextImageModel, rank: int, frozen: Callable[[str], bool]) -> torch.nn.Module:
    require_extra("finetune", "LoRA")
    from peft import LoraConfig, get_peft_model

    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and re.fullmatch(_LORA_MODULES, name) and not frozen(f"{name}.weight")
    ]
    if not targets:
        return model.requires_grad_(False)
    return get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, bias="none", lora_dropout=0.0)
    )


def _is_frozen(model: TextImageModel, freeze: Freeze) -> Callable[[str], bool]:
    """Return a function that tells whether the parameter of a name is frozen."""
    layers = {
        "visual.trunk.blocks.": len(model.visual.trunk.blocks),
        "text.transformer.encoder.layer.": len(model.text.transformer.encoder.layer),
    }

    def frozen(name: str) -> bool:
        if freeze == "nothing":
            return False
        if freeze in ("image", "text"):
            return name.startswith("visual." if freeze == "image" else "text.")
        if freeze == "all-but-heads":
            return not name.startswith(("visual.head.", "text.proj."))
        for prefix, depth in layers.items():
            if name.startswith(prefix):
                return int(name.removeprefix(prefix).partition(".")[0]) < depth // 2
        return "embed" in name or "token" in name

    return frozen
