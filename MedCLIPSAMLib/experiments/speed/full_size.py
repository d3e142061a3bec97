"""Full-size models with random weights: time and memory do not depend on the weights.

BiomedCLIP is built by open_clip from a configuration of its shape, as for the catalogue; SAM 2.1 from the
configurations of the package sam2; and SAM ViT-H by the package segment_anything, if installed.
"""

from __future__ import annotations

import json
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ...choices import ComponentRule
from ...models.acceleration.linear import with_fast_linear
from ...models.catalogue import find
from ...models.clip import ClipModel, build_clip
from ...models.sam import Sam2, build_sam
from ...segmentation.components import ComponentSettings
from ...segmentation.saliency import M2IBSettings
from ...segmentation.segmenter import TextSegmenter
from ...segmentation.settings import Settings

PROMPT = (
    "a medical brain mri scan showing an irregularly shaped mass suggestive of a brain tumor in the left frontal lobe"
)
"""22 tokens with [CLS] and [SEP], as long as the sentences of the paper."""
LAYERS = range(11)
"""Blocks that M2IB can use; not the last one, of which only the class token is used."""

_VISION = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
_TEXT = {
    "hf_model_name": "bert",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
    "context_length": 256,
}
_BERT = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}


def biomedclip(device: torch.device | str = "cpu", fast: bool = True) -> ClipModel:
    """Build a text-image model of BiomedCLIP's shape: ViT-B/16 at 224 px and BERT-base, 196 M parameters.

    Args:
        fast: whether to optimize it like `load_clip`, or leave it as built by open_clip.
    """
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_cfg = {"embed_dim": 512, "vision_cfg": _VISION, "text_cfg": _TEXT}
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(PROMPT.split())]
        for file, content in (
            ("open_clip_config.json", json.dumps({"model_cfg": model_cfg})),
            ("config.json", json.dumps(_BERT)),
            ("tokenizer_config.json", "{}"),
            ("vocab.txt", "\n".join(words)),
        ):
            (folder / file).write_text(content, encoding="utf-8")
        model = build_clip(folder).eval().requires_grad_(False)
        model = with_fast_linear(model) if fast else model
        return ClipModel("ViT-B/16 + BERT-base, random", model.to(device), folder)


def sam21(size: str, pixels: int = 1024, device: torch.device | str = "cpu") -> Sam2:
    """Build SAM 2.1 "tiny", "small", "base-plus" or "large" for images with a side of `pixels`, a multiple of 32."""
    torch.manual_seed(0)
    entry = find(f"sam2.1-{size}", "sam")
    config = Path(str(files("sam2").joinpath(entry.config)))
    sam = with_fast_linear(build_sam(config, {**entry.options, "image_size": pixels})).requires_grad_(False).to(device)
    sam.name = entry.name
    return sam


def segmenter(clip: ClipModel, sam: Sam2, **settings: Any) -> TextSegmenter:
    """Combine models so that even random weights find something in every image: the largest component."""
    largest = ComponentSettings(ComponentRule.AREA)
    return TextSegmenter(clip, sam, Settings(M2IBSettings(), components=largest, presence_threshold=0.0, **settings))


def sam_vit_h(device: torch.device | str = "cpu") -> Any:
    """Build the authors' SAM as a `SamPredictor`; None if segment_anything is not installed."""
    try:
        from segment_anything import SamPredictor, sam_model_registry
    except ImportError:
        return None
    torch.manual_seed(0)
    return SamPredictor(sam_model_registry["vit_h"]().requires_grad_(False).eval().to(device))
