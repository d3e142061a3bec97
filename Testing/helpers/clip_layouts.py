"""Files of a smaller model with BiomedCLIP's architecture, and texts and images for it."""

from __future__ import annotations

import json

import numpy as np

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "brain",
    "tumor",
    "lungs",
    "in",
    "the",
    "mri",
    "of",
    "a",
    "chest",
    "##s",
]


TEXTS = ["brain tumor", "lungs in the mri of a chest"]


HEADS, TEXT_HEADS = 3, 4


def write_architecture(folder):
    """Write a smaller BiomedCLIP: timm ViT with class token and 12 blocks, BERT, and an MLP as text projection."""
    folder.mkdir(parents=True)
    clip = {
        "model_cfg": {
            "embed_dim": 64,
            "vision_cfg": {
                "timm_model_name": "vit_tiny_patch16_224",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 224,
            },
            "text_cfg": {
                "hf_model_name": "somewhere/else",
                "hf_tokenizer_name": "somewhere/else",
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 16,
            },
        }
    }
    bert = {
        "model_type": "bert",
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": TEXT_HEADS,
        "intermediate_size": 64,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
        "type_vocab_size": 2,
    }
    for name, content in (
        ("open_clip_config.json", clip),
        ("config.json", bert),
        ("tokenizer_config.json", {"do_lower_case": True}),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")


def images():
    return np.random.default_rng(3).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8)
