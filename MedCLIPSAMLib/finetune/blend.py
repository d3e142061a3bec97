"""Blending what was learned with the base, which keeps what the base can do beside it.

Weights of a fine-tuned model and of its base are averaged (Wortsman et al., Robust fine-tuning of zero-shot models,
CVPR 2022, "WiSE-FT").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .trainable import select_trained


class Blend:
    """The average of a module's trained weights with those it has now.

    Args:
        module: before the training.
        share: of the trained weights, above 0 to 1.
    """

    def __init__(self, module: torch.nn.Module, share: float) -> None:
        self._module, self._share = module, share
        self._base = {} if share == 1 else {name: weight.clone() for name, weight in self._weights().items()}

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Give the module the blended weights until the block ends."""
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
        """Return what is blended: of LoRA's two matrices the one that begins as 0, as their product is what counts."""
        return {name: weight for name, weight in select_trained(self._module).items() if ".lora_A." not in name}
