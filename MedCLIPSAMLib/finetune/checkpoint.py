"""Write the state of a training to a file atomically, so that the last good checkpoint survives, and read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..counted import list_names
from ..errors import ModelError, OutputError, shorten
from ..files.atomic import atomic_path
from ..models.weights import READ_ERRORS


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to a checkpoint.

    Raises:
        OutputError: the disk is full or read-only; an earlier file at `path` is left unchanged.
    """
    try:
        with atomic_path(path) as temporary:
            torch.save(state, temporary)
    except (RuntimeError, OSError) as error:
        # If the disk is full, torch says "[enforce fail at inline_container.cc:672] . unexpected pos 3520 vs 3414".
        reason = error.strerror or str(error) if isinstance(error, OSError) else "the disk took only part of it"
        raise OutputError(
            f"The checkpoint '{path}' cannot be written: {reason}.",
            "Make room on the disk, or make its folder writable, and start again. An earlier checkpoint is resumed.",
        ) from error


def read_checkpoint(
    path: Path, fingerprint: Mapping[str, Any], shapes: dict[str, torch.Size] | None = None
) -> dict[str, Any]:
    """Read a checkpoint of this training, without running code from the file.

    Args:
        path: the checkpoint.
        fingerprint: settings and checksums by name; see `FineTuneSettings.fingerprint`.
        shapes: shapes of the trained parameters by name; None accepts any.

    Raises:
        ModelError: the checkpoint is damaged, or has other settings, data or shapes; the message says which.
    """
    start_over = "Choose another run folder, or remove this one to start from the beginning."
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        parameters, written = state["model"], state["fingerprint"]
        found = {name: tensor.shape for name, tensor in parameters.items()}
    except (*READ_ERRORS, LookupError, TypeError) as error:
        reason = shorten(str(error).partition("\n")[0], 200)
        raise ModelError(f"The checkpoint '{path}' is damaged: {reason}.", start_over) from error
    if written != fingerprint:
        raise ModelError(
            f"The checkpoint '{path}' is of another training: {_differences(written, fingerprint)}.",
            f"Give the settings and data of that training. {start_over}",
        )
    if shapes is not None and found != shapes:
        differing = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
        raise ModelError(
            f"The checkpoint '{path}' belongs to another architecture: {list_names(differing)} differ.", start_over
        )
    return state


def _differences(written: Any, expected: Mapping[str, Any]) -> str:
    """Describe the settings (with both values) and the checksums in which two fingerprints differ."""
    said: list[str] = []
    for name in {**expected, **written} if isinstance(written, dict) else ():
        before, now = written.get(name), expected.get(name)
        if before != now and any(re.fullmatch("[0-9a-f]{64}", str(value)) for value in (before, now)):
            said.append(f"the {name} differ")
        elif before != now and name in written and name in expected:
            said.append(f"{name} was {before} and is {now}")
    return ", ".join(said) or "it was written by another version"
