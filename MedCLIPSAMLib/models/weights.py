"""Write weights, read them without running code from the file, and load all of them into a model."""

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
"""What torch and safetensors raise on a file that is damaged or holds more than tensors."""
DISTRIBUTED = "module."
"""What torch's DistributedDataParallel puts before the names of all weights."""


def write_weights(path: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as a .safetensors file, whole or not at all.

    Raises:
        OutputError: the disk is full or read-only.
    """
    try:
        with atomic_path(path) as temporary:
            save_file(dict(weights), str(temporary), metadata=None if metadata is None else dict(metadata))
    except SafetensorError as error:  # which wraps the system's errors
        raise OutputError(
            f"The weights '{path}' cannot be written: {error}.",
            "Make room on the disk, or make its folder writable.",
        ) from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file, or of a PyTorch file, on the CPU.

    Of a checkpoint that a training wrote, they are its entry "model" (Meta's) or "state_dict" (open_clip's, whose names
    begin with "module." where several GPUs trained). They are mapped into memory, not read into it, but for PyTorch's
    format before 1.6.

    Raises:
        ModelError: a truncated or foreign file, one that holds more than tensors and could run code, or values that are
            NaN or infinite. InputError: a pipe or a device. Errors of torch when memory runs out.
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
    """Tell whether an entry is a tensor with a name, on the CPU, and with as many values in the file as it has."""
    if not isinstance(name, str) or not isinstance(value, torch.Tensor):
        return False
    is_dense = value.layout == torch.strided and value.device.type == "cpu"
    return is_dense and value.untyped_storage().nbytes() >= value.nbytes


def is_finite(tensor: torch.Tensor) -> bool:
    """Tell whether all values are finite: by their sum, in one pass, and one by one only where the sum is not."""
    if not tensor.is_floating_point():
        return True
    return bool(tensor.sum(dtype=torch.float64).isfinite()) or bool(tensor.double().isfinite().all())


def load_strictly(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load every tensor of `state` into `model`, which must have exactly these.

    Raises:
        ModelError: names are missing or left over, shapes differ, or weights are whole numbers; the message names some.
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
            "Get the weights as they were before they were quantized.",
        )
    model.load_state_dict(state, strict=False)
