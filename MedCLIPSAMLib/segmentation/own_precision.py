"""Keep a caller's autocast away from the models, which have a precision of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

if TYPE_CHECKING:
    from .segmenter import TextSegmenter

Function = TypeVar("Function", bound=Callable[..., Any])


def own_precision(device: torch.device) -> torch.autocast:
    """Return a context, which can be entered several times, that switches off the autocast of a caller."""
    return torch.autocast(device.type, enabled=False)


def in_own_precision(function: Function) -> Function:
    """Make a function of a segmenter use the precision of its settings, even within autocast of the caller."""

    @wraps(function)
    def run(segmenter: TextSegmenter, *values: Any, **named: Any) -> Any:
        with own_precision(segmenter.clip.device):
            return function(segmenter, *values, **named)

    return cast(Function, run)
