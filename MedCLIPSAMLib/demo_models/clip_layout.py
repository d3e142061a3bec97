"""The folder of a small CLIP to train: its configuration files, its vocabulary, and the token ids of texts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ..phantoms.captions import Text

CONTEXT_LENGTH = 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class ClipLayout:
    """The shape of a small CLIP.

    Args:
        tower: name of the image tower; see `models.own_towers.OWN_TOWERS`.
        image_size: side of the input image in pixels.
        width: width of the text tower and of the features.
        layers, heads: number of layers and attention heads of the text tower.
    """

    tower: str
    image_size: int
    width: int
    layers: int
    heads: int


def write_layout(folder: Path, texts: list[Text], layout: ClipLayout) -> None:
    """Write the folder of a model without its weights: the configuration files and the vocabulary of all texts."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for text in texts for word in _words(text.text)})
    vocabulary = [*SPECIAL, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    bert = {
        "model_type": "bert",
        "vocab_size": len(vocabulary),
        "hidden_size": layout.width,
        "num_hidden_layers": layout.layers,
        "num_attention_heads": layout.heads,
        "intermediate_size": 2 * layout.width,
        "max_position_embeddings": CONTEXT_LENGTH,
        "pad_token_id": 0,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    vision = {
        "timm_model_name": layout.tower,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": layout.image_size,
    }
    text = {
        "hf_model_name": ".",
        "hf_tokenizer_name": ".",
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "hf_model_pretrained": False,
        "context_length": CONTEXT_LENGTH,
    }
    clip = {
        "model_cfg": {"embed_dim": layout.width, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    }
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT_LENGTH}
    for name, content in (("config.json", bert), ("open_clip_config.json", clip), ("tokenizer_config.json", tokenizer)):
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def tokenize(folder: Path, texts: list[Text]) -> torch.Tensor:
    """Tokenize texts with a folder's vocabulary; return ids (N, L) int64, padded with 0 to the longest text."""
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    number = {word: index for index, word in enumerate(words)}
    begin, end = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    rows = [torch.tensor([begin, *(number[word] for word in _words(text.text)), end]) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())
