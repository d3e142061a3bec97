"""Write weights, read them without running code from the file, and load them strictly into a model."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..counted import list_names
from ..errors import ModelError, OutputError
from ..files.atomic import atomic_path
from ..files.regular import check_regular
from .acceleration.memory import is_out_of_memory
from .layouts import without_buffers

READ_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    KeyError,
    AttributeError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""Errors that torch and safetensors raise for a file that is damaged or holds more than tensors."""
DISTRIBUTED = "module."
"""Prefix that torch's DistributedDataParallel puts before the names of all weights."""


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a .safetensors file, atomically.

    Raises:
        OutputError: the disk is full or read-only.
    """
    try:
        with atomic_path(path) as temporary:
            save_file(dict(weights), str(temporary), metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:  # wraps errors of the operating system
        raise OutputError(
            f"The weights '{path}' cannot be written: {error}.",
            "Make room on the disk, or make its folder writable.",
        ) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors or PyTorch file, on the CPU.

    In a training checkpoint they are the entry "model" (Meta's) or "state_dict" (open_clip's, whose names begin with
    "module." after training on several GPUs). The file is mapped into memory instead of being read, except in PyTorch's
    format before 1.6. Errors of torch when memory runs out are not caught.

    Raises:
        ModelError: the file is truncated or of another kind, holds more than tensors and could run code, or holds NaN
            or infinite values.
        InputError: the path is a pipe or a device.
    """
    check_regular(path)
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        )
    except READ_ERRORS as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ModelError(
            f"'{path}' is damaged, or holds more than weights: {reason}.", "Get the file again from its source."
        ) from error
    for entry in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(entry), dict):
            state = state[entry]
    if not isinstance(state, dict) or not state or not all(_is_plain(*item) for item in state.items()):
        raise ModelError(f"Expected a table of weights in '{path}'.", "Get the file again from its source.")
    if all(name.startswith(DISTRIBUTED) for name in state):
        state = {name.removeprefix(DISTRIBUTED): tensor for name, tensor in state.items()}
    state = without_buffers(state)
    broken = sorted(name for name, tensor in state.items() if not is_finite(tensor))
    if broken:
        raise ModelError(
            f"Expected finite weights in '{path}', got NaN or infinity in {list_names(broken)}.",
            "Get the file again from its source, or train the model again.",
        )
    return state


def _is_plain(name: object, value: object) -> bool:
    """Tell whether an entry is a named dense tensor on the CPU whose storage in the file is complete."""
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        return False
    is_dense = value.layout == torch.strided and value.device.type == "cpu"
    return is_dense and value.untyped_storage().nbytes() >= value.nbytes


def is_finite(tensor: torch.Tensor) -> bool:
    """Tell whether all values are finite: by their sum, in one pass, and one by one only if the sum is not finite."""
    if not tensor.is_floating_point():
        return True
    return bool(tensor.sum(dtype=torch.float64).isfinite()) or bool(tensor.double().isfinite().all())


def load_strictly(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load every tensor of `state` into `model`, whose weights must have exactly these names and shapes.

    Raises:
        ModelError: names are missing or unexpected, shapes differ, or weights are integers; the message names some.
    """
    wanted = without_buffers(model.state_dict())
    for what, names in (
        ("lacks", wanted.keys() - state.keys()),
        ("has the unexpected", state.keys() - wanted.keys()),
        (
            "has another shape for",
            {name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape},
        ),
    ):
        if names:
            raise ModelError(
                f"'{path}' does not fit its configuration: it {what} {list_names(sorted(names))}.",
                "Get the weights and the configuration from the same source.",
            )
    is_whole = lambda name: wanted[name].is_floating_point() and not state[name].is_floating_point()
    if whole := sorted(filter(is_whole, wanted)):
        raise ModelError(
            f"Expected floating-point weights in '{path}', got {state[whole[0]].dtype} in {list_names(whole)}.",
            "Get the weights in floating point, before quantization.",
        )
    model.load_state_dict(state, strict=False)
