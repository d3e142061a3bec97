"""The choice of models to load, and of the device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..choices import DEFAULT_MODEL, DEFAULT_SAM
from .segmenter import TextSegmenter, load_segmenter
from .settings import Settings


@dataclass(frozen=True)
class ModelChoice:
    """Names in the catalogue, the device and the settings of a segmenter; see `segmenter.load_segmenter`."""

    clip: str = DEFAULT_MODEL
    sam: str = DEFAULT_SAM
    device: str = "auto"
    models_dir: Path | None = None
    settings: Settings | None = None

    def load(self) -> TextSegmenter:
        """Load the models; see `load_segmenter` for errors."""
        return load_segmenter(self.clip, self.sam, self.device, self.models_dir, self.settings)
