"""Check every file of the models on this machine, by its checksum or, if it has none, by loading the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..errors import DeviceError, InputError, ModelError
from .acceleration.memory import refuse_too_large
from .clip import load_clip
from .sam import load_sam
from .store import Status, statuses


def check_models(models_dir: Path | None = None) -> list[Status]:
    """Return the status of every model as `store.statuses` does, after reading all files.

    Files with a checksum are compared with it. A model that has files without one is loaded on the CPU, and is
    "damaged" if that fails; otherwise its detail names these files.
    """
    found = statuses(models_dir, checksums=True)
    return [_check(status, models_dir) if status.usable and status.detail else status for status in found]


def _check(status: Status, models_dir: Path | None) -> Status:
    load = load_clip if status.model.kind == "clip" else load_sam
    try:
        with refuse_too_large(torch.device("cpu")):
            load(status.model.name, models_dir=models_dir)
    except (ModelError, DeviceError, InputError) as error:
        return replace(status, state="damaged", detail=error.problem.rstrip("."))
    return status
