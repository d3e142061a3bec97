"""Blend learned weights with those of the base, to keep abilities of the base that the captions do not cover.

The weights of the fine-tuned model and of its base are averaged (Wortsman et al., Robust fine-tuning of zero-shot
models, CVPR 2022, "WiSE-FT").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .trainable import select_trained


class Blend:
    """The weighted average of a module's trained weights and of its weights at the time of construction.

    Args:
        module: the module before training.
        share: share of the trained weights, above 0 and up to 1.
    """

    def __init__(self, module: torch.nn.Module, share: float) -> None:
        self._module, self._share = module, share
        self._base = {} if share == 1 else {name: weight.clone() for name, weight in self._weights().items()}

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Give the module the blended weights for the duration of the block."""
        learned = {name: weight.clone() for name, weight in self._weights().items() if name in self._base}
        for name, weight in self._weights().items():
            if name in learned:
                weight.lerp_(self._base[name], 1 - self._share)
        try:
            yield
        finally:
            for name, weight in self._weights().items():
                if name in learned:
                    weight.copy_(learned[name])

    def _weights(self) -> dict[str, torch.Tensor]:
        """Return the weights to blend; of LoRA's two matrices only the one that starts at 0, as the product counts."""
        return {name: weight for name, weight in select_trained(self._module).items() if ".lora_A." not in name}
