"""The precision of matrix products in place of "auto"."""

from __future__ import annotations

from dataclasses import replace

from ..choices import Precision
from ..models.device import fast_bfloat16
from .loaded_models import LoadedModels
from .settings import Settings

LARGE = 50_000_000
"""Minimum parameters of both models together for which "auto" is bfloat16."""


def resolve_precision(settings: Settings, models: LoadedModels) -> Settings:
    """Replace the precision "auto" by bfloat16 for large models on devices that are fast at it, else by float32."""
    if settings.precision != Precision.AUTO:
        return settings
    fast = models.parameters >= LARGE and fast_bfloat16(models.clip.device)
    return replace(settings, precision=Precision.BF16 if fast else Precision.F32)
