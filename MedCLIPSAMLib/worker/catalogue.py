"""What the worker says of models and devices on its machine, and downloads that it makes there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..models.download import download
from ..models.store import find, status, statuses


def models_and_devices(models_dir: Path | None) -> dict[str, Any]:
    """Every model of the catalogue with its state, and the devices that torch can use here."""
    devices = [{"name": "cpu", "title": "CPU"}]
    if torch.backends.mps.is_available():
        devices.insert(0, {"name": "mps", "title": "Apple GPU (MPS)"})
    for index in reversed(range(torch.cuda.device_count() if torch.cuda.is_available() else 0)):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices.insert(0, {"name": f"cuda:{index}", "title": f"{torch.cuda.get_device_name(index)}, {memory:.0f} GB"})
    built = torch.version.cuda or torch.version.hip or "the CPU only"
    return {
        "models": [each.as_dict() for each in statuses(models_dir)],
        "devices": devices,
        "torch": torch.__version__,
        "built_for": built,
    }


def download_model(
    name: str, kind: str | None, tell: Callable[[str, float], None], cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Download a model into the cache of this machine; an interrupted download goes on.

    Args:
        tell: called with a file's name and the fraction of it that is here, at most once for each per cent.
    """
    told: dict[str, int] = {}

    def progress(file: str, done: int, total: int | None) -> None:
        percent = int(100 * done / total) if total else 0
        if told.get(file) != percent:
            told[file] = percent
            tell(file, percent / 100)

    model = find(name, kind)
    download(model, progress=progress, cancelled=cancelled)
    return status(model).as_dict()
