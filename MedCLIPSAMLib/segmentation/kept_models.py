"""Models that stay loaded from one piece of work to the next in a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..models.acceleration.memory import release
from ..models.device import resolve_device
from ..models.store import find, locate
from .segmenter import TextSegmenter, load_segmenter
from .settings import Settings, default_settings


class KeptModels:
    """The pair of models used last, and the device that it is on; another pair takes its place."""

    def __init__(self) -> None:
        self._segmenter: TextSegmenter | None = None
        self._key: tuple[Any, ...] = ()

    def load(
        self, model: str, sam: str, device: str, models_dir: Path | None, settings: Settings | None = None
    ) -> TextSegmenter:
        """See `load_segmenter`; nothing is loaded where the pair is there and its files are as they were.

        A pair for which memory ran out is loaded anew.
        """
        key = (model, sam, resolve_device(device), *_stamps(model, sam, models_dir))
        kept = self._segmenter
        if kept is not None and key == self._key and kept.usable and not kept.frugal:
            return kept.with_settings(settings or default_settings(model, models_dir))
        self._segmenter = kept = None
        release()
        self._segmenter = load_segmenter(model, sam, device, models_dir, settings)
        self._key = key
        return self._segmenter

    def describe(self) -> dict[str, str]:
        """Name the models and their device; nothing where none are loaded."""
        kept = self._segmenter
        if kept is None or not kept.usable:
            return {}
        return {"model": kept.clip.name, "sam": kept.sam.name, "device": str(kept.clip.device)}


def _stamps(model: str, sam: str, models_dir: Path | None) -> tuple[Any, ...]:
    """Say which files the models are of, and when each was written."""
    folders = locate(find(model, "clip", models_dir), models_dir), locate(find(sam, "sam", models_dir), models_dir)
    files = sorted(file for folder in folders for file in folder.iterdir())
    return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
