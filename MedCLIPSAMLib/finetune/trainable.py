"""Select the parameters of a text-image model to train: all, some layers, or low-rank additions (LoRA)."""

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
    """Make the trained parameters require gradients, and wrap the model with peft if LoRA is used.

    The scale of the logits is never trained, since the losses have their own temperature.

    Args:
        model: the model to train.
        freeze: the part that is not trained: "nothing"; the "image" or "text" tower; the "lower-half" of both towers'
            layers, with their embeddings; or "all-but-heads", where the heads are the projections into the common
            space.
        lora_rank: rank of the matrices that LoRA (Hu et al. 2021) adds to each linear layer that is not frozen. Only
            these matrices are then trained. 0 trains the weights themselves.

    Returns:
        The model, or the peft model around it.

    Raises:
        InputError: there is no such choice, nothing is left to train, or the package peft is missing.
    """
    freeze = parse_choice(Freeze, freeze, "part to freeze")
    if lora_rank < 0:
        raise InputError(f"Expected a LoRA rank of 0 or more, got {lora_rank}.", "0 trains all weights.")
    frozen = _is_frozen(model, freeze)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not frozen(name) and name != "logit_scale")
    trained = _with_lora(model, lora_rank, frozen) if lora_rank else model
    if not any(parameter.requires_grad for parameter in trained.parameters()):
        raise InputError(f"Nothing is left to train with '{freeze}' frozen.", "Freeze less, or do not use LoRA.")
    return trained


def merge_lora(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return float32 copies of the weights on the CPU, under open_clip's names and with LoRA merged."""
    if hasattr(model, "peft_config"):
        model = cast(Any, copy.deepcopy(model)).merge_and_unload()
    return {name: tensor.detach().float().cpu().clone() for name, tensor in model.state_dict().items()}


def select_trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the trained parameters by name, which are those that a checkpoint must contain."""
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
    """Return a function that tells whether the parameter with a given name is frozen."""
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
