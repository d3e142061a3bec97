"""BiomedCLIP and its like: built from a folder's open_clip configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from open_clip.model import CustomTextCLIP  # noqa: E402

from . import demo_vit  # noqa: E402, F401


def build_clip(folder: Path) -> CustomTextCLIP:
    """A model with random weights, shaped by open_clip_config.json and config.json (BERT) of `folder`; no network."""
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    config["text_cfg"]["hf_model_name"] = str(folder)
    return CustomTextCLIP(**config)
