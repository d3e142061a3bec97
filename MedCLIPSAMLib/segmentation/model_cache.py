"""A cache of the models in use, so that a process does not load them again for each command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..models.acceleration.memory import release
from ..models.device import resolve_device
from ..models.store import find, find_model_folder
from .segmenter import TextSegmenter, load_segmenter
from .settings import Settings, default_settings


class ModelCache:
    """Caches the pair of models used last on its device; loading another pair replaces it."""

    def __init__(self) -> None:
        self._segmenter: TextSegmenter | None = None
        self._key: tuple[Any, ...] = ()

    def load(
        self, model: str, sam: str, device: str, models_dir: Path | None, settings: Settings | None = None
    ) -> TextSegmenter:
        """Return a segmenter as `load_segmenter` does, from the cache unless the files of the models have changed.

        A pair for which memory ran out is loaded again.
        """
        key = (model, sam, resolve_device(device), *_stamps(model, sam, models_dir))
        cached = self._segmenter
        if cached is not None and key == self._key and cached.usable and not cached.frugal:
            return cached.with_settings(settings or default_settings(model, models_dir))
        self._segmenter = cached = None  # so that both are freed before others are loaded
        release()
        self._segmenter = load_segmenter(model, sam, device, models_dir, settings)
        self._key = key
        return self._segmenter

    def describe(self) -> dict[str, str]:
        """Return the names of the cached models and their device; empty where none are loaded."""
        cached = self._segmenter
        if cached is None or not cached.usable:
            return {}
        return {"model": cached.clip.name, "sam": cached.sam.name, "device": str(cached.clip.device)}


def _stamps(model: str, sam: str, models_dir: Path | None) -> tuple[Any, ...]:
    """Return path, modification time and size of each file of both models."""
    folders = (
        find_model_folder(find(model, "clip", models_dir), models_dir),
        find_model_folder(find(sam, "sam", models_dir), models_dir),
    )
    files = sorted(file for folder in folders for file in folder.iterdir())
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
