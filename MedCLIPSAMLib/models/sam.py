"""SAM 2 from the `sam2` package, built from a configuration of ours or of the package."""

from __future__ import annotations

from pathlib import Path

from sam2.build_sam import build_sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor


def build_sam(config: Path) -> SAM2VideoPredictor:
    """A model with random weights on the CPU, shaped by a sam2 configuration file outside the package."""
    return build_sam2_video_predictor(f"//{config.resolve()}", None, device="cpu", mode="eval", apply_postprocessing=False)
