"""Linear layers in float32 computed by oneDNN, on processors where torch's default library runs at half speed.

torch multiplies float32 matrices with MKL, which uses only AVX2 on AMD processors with AVX-512. oneDNN, which torch
uses for convolutions, does not depend on the vendor. A linear layer is therefore computed as a 1 x 1 convolution.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)
MIN_PRODUCTS = 2**24
"""Number of multiplications below which the choice of library does not matter."""


class OneDnnLinear(nn.Linear):
    """A linear layer with frozen weights that gives the same result up to rounding."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply the layer: (..., in_features) to (..., out_features)."""
        plain = inputs.device.type != "cpu" or inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        if plain or self.weight.requires_grad or inputs.numel() * self.out_features < MIN_PRODUCTS:
            return super().forward(inputs)
        pixels = inputs.reshape(1, -1, 1, self.in_features).permute(0, 3, 1, 2)
        outputs = F.conv2d(pixels, self.weight[:, :, None, None], self.bias)
        return outputs.permute(0, 2, 3, 1).reshape(*inputs.shape[:-1], self.out_features)


def with_fast_linear(model: AnyModule) -> AnyModule:
    """Change linear layers to oneDNN if that is faster, and return the model; weights and their names stay the same."""
    for module in model.modules() if mkl_is_slow() else ():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
    return model


@cache
def mkl_is_slow() -> bool:
    """Tell whether the processor is from AMD with AVX-512 and torch was built with MKL."""
    described = Path("/proc/cpuinfo")
    maker = described.read_text(encoding="utf-8") if described.is_file() else platform.processor()
    capable = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "AuthenticAMD" in maker and capable and torch.backends.mkl.is_available()
