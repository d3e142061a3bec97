"""A cache of loaded models, so that a process does not reload them for each command."""

from __future__ import annotations

from typing import Any

from ..models.acceleration.memory import release
from ..models.catalogue_entry import Kind
from ..models.device import resolve_device
from ..models.store import find, find_model_folder
from .model_choice import ModelChoice
from .segmenter import TextSegmenter
from .settings import default_settings


class ModelCache:
    """Cache of the pair of models used last, on its device; loading another pair replaces it."""

    def __init__(self) -> None:
        self._segmenter: TextSegmenter | None = None
        self._key: tuple[Any, ...] = ()

    def load(self, choice: ModelChoice) -> TextSegmenter:
        """Load a segmenter as `load_segmenter` does, from the cache unless the model files have changed.

        A pair for which memory ran out is reloaded.
        """
        key = self.key(choice)
        cached = self._segmenter
        if cached is not None and key == self._key and cached.usable and not cached.frugal:
            return cached.with_settings(choice.settings or default_settings(choice.clip, choice.models_dir))
        self._segmenter = cached = None  # frees both models before others are loaded
        release()
        self._segmenter = choice.load()
        self._key = key
        return self._segmenter

    def key(self, choice: ModelChoice) -> tuple[Any, ...]:
        """Return what identifies a pair of models: names, device, and the state of their files."""
        return (choice.clip, choice.sam, resolve_device(choice.device), *_stamps(choice))

    def describe(self) -> dict[str, str]:
        """Return the names of the cached models and their device; empty if none are loaded."""
        cached = self._segmenter
        if cached is None or not cached.usable:
            return {}
        return {"model": cached.clip.name, "sam": cached.sam.name, "device": str(cached.clip.device)}


def _stamps(choice: ModelChoice) -> tuple[Any, ...]:
    """Return path, modification time and size of each file of both models."""
    named: tuple[tuple[str, Kind], ...] = (choice.clip, "clip"), (choice.sam, "sam")
    folders = [find_model_folder(find(name, kind, choice.models_dir), choice.models_dir) for name, kind in named]
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
