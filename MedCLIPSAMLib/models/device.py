"""The device that the models run on: choose it, and copy arrays to and from it."""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ..errors import DeviceError

log = logging.getLogger(__name__)

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str = "auto") -> torch.device:
    """Return the torch device for one of `DEVICES`, or for a numbered GPU such as "cuda:1".

    "auto" takes CUDA if available, otherwise Apple's MPS, otherwise the CPU.

    Raises:
        DeviceError: the name is unknown, or the device is not available; the message says why.
    """
    kind, _, index = str(name).partition(":")
    if kind not in DEVICES or not re.fullmatch(r"cuda(:[0-9]+)?|[a-z]+", str(name)):
        raise DeviceError(
            f"Expected a device of {', '.join(DEVICES)}, got '{name}'.",
            "Use one of these, or a GPU by its number such as 'cuda:1'.",
        )
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    if kind == "cuda":
        _require_cuda(int(index or 0))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "MPS was requested, but this machine has no Apple GPU that torch can use.", "Use 'cpu' or 'auto'."
        )
    return torch.device(kind, int(index)) if index else torch.device(kind)


def fast_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has native instructions for matrix products in bfloat16 that torch's library uses.

    The environment variable ONEDNN_MAX_CPU_ISA can keep oneDNN from using them. For Arm processors and Apple's GPUs the
    answer is always no, since nothing was measured there.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(has() for has in checks if has) and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@cache
def warn_of_slow_bfloat16(device: torch.device) -> None:
    """Log, once per device, that bfloat16 is slow on it, if it is a CPU without instructions for it."""
    if device.type == "cpu" and not fast_bfloat16(device):
        log.warning(
            "This CPU is not known to support bfloat16 (AMX or AVX-512 BF16). On a CPU without it, "
            "the precision bf16 took 19 times as long as f32 (docs/results/speed.md). Use 'auto' or 'f32'."
        )


def scale(images: torch.Tensor) -> torch.Tensor:
    """Convert images, uint8 (N, H, W, 3), to float32 (N, 3, H, W) from 0 to 1, on their device."""
    return images.permute(0, 3, 1, 2).float() / 255


def to_device(device: torch.device, array: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Copy an array to a device; copies to CUDA go through pinned memory, so that the host does not wait."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)) if isinstance(array, np.ndarray) else array
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(*tensors: torch.Tensor) -> list[np.ndarray]:
    """Copy tensors of one device to the host; copies from CUDA go to pinned memory and are synchronized once."""
    if not tensors[0].is_cuda:
        return [tensor.cpu().numpy() for tensor in tensors]
    copies = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    for copy, tensor in zip(copies, tensors):
        copy.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensors[0].device).synchronize()
    return [copy.numpy() for copy in copies]


class OnCpu(TorchFunctionMode):
    """A context that creates this thread's CUDA tensors on the CPU, for code that uses any GPU that it finds."""

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Call a function of torch with every CUDA device among its arguments replaced by the CPU."""
        named = {name: _cpu_for_cuda(value) for name, value in (kwargs or {}).items()}
        return function(*map(_cpu_for_cuda, args), **named)


def _cpu_for_cuda(value: Any) -> Any:
    """Return the CPU for a CUDA device, and any other value unchanged."""
    is_cuda = isinstance(value, str | torch.device) and str(value).partition(":")[0] == "cuda"
    return torch.device("cpu") if is_cuda else value


def _require_cuda(index: int) -> None:
    if torch.version.cuda is None and torch.version.hip is None:
        raise DeviceError(
            f"CUDA was requested, but the installed torch {torch.__version__} was built for the CPU only.",
            "Install a torch built for CUDA (https://pytorch.org/get-started/locally), or use 'cpu'.",
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            "CUDA was requested, but torch finds no NVIDIA GPU or no driver for it.",
            "Check whether 'nvidia-smi' lists a GPU, or use 'cpu'.",
        )
    if index >= torch.cuda.device_count():
        raise DeviceError(
            f"GPU {index} was requested, but this machine has {torch.cuda.device_count()}, counted from 0.",
            "Use a smaller number.",
        )
