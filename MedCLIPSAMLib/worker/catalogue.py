"""List models and devices on the worker's machine, and download models there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..models.catalogue_entry import Kind
from ..models.download import download
from ..models.store import find, status, statuses
from ..run_context import Progress, RunContext
from ..segmentation.settings import with_checked_settings


def models_and_devices(models_dir: Path | None) -> dict[str, Any]:
    """List all models of the catalogue with their states, and the devices that torch can use here."""
    devices = [{"name": "cpu", "title": "CPU"}]
    if torch.backends.mps.is_available():
        devices.insert(0, {"name": "mps", "title": "Apple GPU (MPS)"})
    for index in reversed(range(torch.cuda.device_count() if torch.cuda.is_available() else 0)):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        devices.insert(0, {"name": f"cuda:{index}", "title": f"{torch.cuda.get_device_name(index)}, {memory:.0f} GB"})
    built = torch.version.cuda or torch.version.hip or "the CPU only"
    return {
        "models": [model.as_dict() for model in with_checked_settings(statuses(models_dir))],
        "devices": devices,
        "torch": torch.__version__,
        "built_for": built,
    }


def download_model(name: str, kind: Kind | None, context: RunContext) -> dict[str, Any]:
    """Download a model into the cache of this machine; an interrupted download is resumed.

    Args:
        name: name of the model.
        kind: kind of model, if two have that name; None for either.
        context: reports the name of a file and the fraction downloaded, at most once per percent.
    """
    last_percent: dict[str, int] = {}

    def report(progress: Progress) -> None:
        file, percent = progress.message, int(100 * progress.fraction)
        if last_percent.get(file) != percent:
            last_percent[file] = percent
            context.report(percent / 100, file=file)

    model = find(name, kind)
    download(model, context=replace(context, on_progress=report))
    return status(model).as_dict()
