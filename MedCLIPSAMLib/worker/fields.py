"""Read the fields and arrays of a request, and write results as fields and arrays."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, PromptError
from ..segmentation.result import PromptedResult, SliceResult
from ..segmentation.sam_prompts import SamPrompts
from ..segmentation.settings import Settings
from ..validated import with_changes
from .protocol import Message
from .reply import Answer


def read_text_field(message: Message, name: str, default: str | None = None) -> str:
    """Read a text; raise InputError if it is absent and there is no default."""
    value: str | None = message.fields.get(name)
    value = default if value is None else value
    if value is None:
        raise InputError(f"Expected text as '{name}' of '{message.type}', got nothing.", f"Send '{name}'.")
    return value


def read_path_field(message: Message, name: str) -> str:
    """Read a path on this machine and expand "~"; an absent path is empty."""
    return os.path.expanduser(read_text_field(message, name, ""))


def read_models_folder(message: Message) -> Path | None:
    """Read the folder of models; None, meaning the user's folder, if it is absent."""
    return Path(read_path_field(message, "models_dir")) if message.fields.get("models_dir") else None


def read_sam_prompts(arrays: Mapping[str, np.ndarray]) -> SamPrompts:
    """Read SAM prompts from the arrays boxes (B, 4), points (B, P, 2) and labels (B, P), any of which may be absent."""
    return SamPrompts(**{name: arrays[name] for name in ("boxes", "points", "labels") if name in arrays})


def prompts_of(message: Message) -> tuple[tuple[str, ...], str | None]:
    """Read the prompts and the negative prompt of a message."""
    prompts = message.fields.get("prompts")
    if not prompts:
        raise PromptError("No prompt was given.", "Say what to segment, such as 'brain tumor'.")
    return tuple(prompts), read_text_field(message, "negative", "") or None


def settings_of(message: Message, defaults: Settings) -> Settings:
    """Apply the settings of a message, which are changes to the defaults of the model."""
    changes = message.fields.get("settings") or {}
    settings = with_changes(defaults, changes)
    by_hand = changes.get("saliency") or {}
    return settings.with_saliency(**{name: getattr(settings.saliency, name) for name in by_hand})


def write_part(found: SliceResult, with_saliency: bool, with_uncertainty: bool = False) -> Answer:
    """Write a result of the full pipeline on a slice as a "part"; uncertainty is included only after a vote."""
    result = found.result
    if not isinstance(result, PromptedResult):
        raise TypeError(f"Expected a PromptedResult, got {type(result).__name__}.")
    fields = _describe(found) | {"presence": asdict(result.where.presence), "seconds": result.seconds}
    arrays = {
        "mask": result.mask.astype(np.uint8),
        "boxes": result.sam_prompts.boxes,
        "points": result.sam_prompts.points,
        "labels": result.sam_prompts.labels,
        "predicted_iou": result.predicted_iou,
    }
    if with_uncertainty and result.uncertainty is not None:
        arrays["uncertainty"] = result.uncertainty
    return fields, arrays | ({"saliency": result.where.saliency} if with_saliency else {})


def write_propagated_part(found: SliceResult) -> Answer:
    """Write a result of a propagation on a slice as a "part"; only key slices have boxes."""
    result = found.result
    prompts = result.sam_prompts if isinstance(result, PromptedResult) else SamPrompts()
    fields = _describe(found) | {"presence": {"probability": found.presence}}
    return fields, {"mask": result.mask.astype(np.uint8), "boxes": prompts.boxes}


def _describe(found: SliceResult) -> dict[str, Any]:
    result = found.result
    named: dict[str, Any] = {"prompt": result.prompt, "slice": found.number, "found": result.found}
    return named | {"score": result.score, "message": result.message, "notes": result.notes}
