"""BiomedCLIP and similar models, loaded from a folder: they encode texts and images in one space."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import BertWordPieceTokenizer

from ..errors import InputError, ModelError, PromptError, shorten
from ..files.checksums import sha256_of
from .acceleration.linear import with_fast_linear
from .acceleration.memory import is_out_of_memory
from .catalogue import CLIP_FILES
from .clip_config import read_config, read_preprocessing
from .device import scale, to_device
from .expected_dsc import DscPredictor, read_predictor
from .feature_statistics import FeatureStatistics, read_statistics
from .image_text import TextImageModel, build, is_own
from .layouts import is_hugging_face, set_layer_norm_epsilon, to_open_clip
from .store import find, find_model_folder
from .weights import load_strictly, read_weights

WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin")
"""Names of a folder's weights, searched in this order; the keys in the file tell the layout."""


class ClipModel:
    """A text-image model with its tokenizer and image normalization.

    Args:
        name: in the catalogue.
        model: in evaluation mode, its parameters frozen.
        folder: where vocab.txt, tokenizer_config.json and open_clip_config.json are.
        feature_statistics: statistics of its training images; None where there are none.
        dsc_predictor: predicts the DSC of masks; None where none was fitted.
    """

    def __init__(
        self,
        name: str,
        model: TextImageModel,
        folder: Path,
        feature_statistics: FeatureStatistics | None = None,
        dsc_predictor: DscPredictor | None = None,
    ) -> None:
        self.name, self.model = name, model
        self.feature_statistics, self.dsc_predictor = feature_statistics, dsc_predictor
        self._folder = folder
        preprocess = read_preprocessing(folder)
        self.image_size, self.context_length = preprocess.image_size, preprocess.context_length
        self.device = next(model.parameters()).device
        normalization = torch.tensor([preprocess.mean, preprocess.std], dtype=torch.float32, device=self.device)
        self._mean, self._std = normalization.view(2, 3, 1, 1)
        self._tokenizer = load_tokenizer(folder)

    def checksum(self) -> str:
        """Compute a checksum of the files that the model is made of: configurations, vocabulary and weights."""
        files = [self._folder / name for name in CLIP_FILES] + [_weights_of(self._folder)]
        digests = [sha256_of(path) for path in files if path.is_file()]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def tokenize(self, texts: list[str], cut: bool = False) -> torch.Tensor:
        """Tokenize N texts: int64 (N, L) on the model's device, with L the length of the longest one.

        Args:
            cut: leave out the end of a text that the model cannot take; its last token stays.

        Raises:
            PromptError: a text of more tokens than the model can take, unless `cut`; half characters.
        """
        for text in texts:
            _require_text(text)
        encoded = [self._tokenizer.encode(text).ids for text in texts]
        for row, (text, ids) in enumerate(zip(texts, encoded)):
            if cut:
                encoded[row] = ids if len(ids) <= self.context_length else [*ids[: self.context_length - 1], ids[-1]]
            elif len(ids) > self.context_length:
                raise PromptError(
                    f"The prompt '{shorten(text, 40)}' has {len(ids)} tokens; "
                    f"'{self.name}' takes {self.context_length} at most.",
                    "Shorten it.",
                )
        length, padding = max(map(len, encoded), default=0), self.model.text.config.pad_token_id
        padded = [ids + [padding] * (length - len(ids)) for ids in encoded]
        return torch.tensor(padded, dtype=torch.long, device=self.device).reshape(len(texts), length)

    def unknown_words(self, text: str) -> list[str]:
        """List the words of `text` that the tokenizer does not know at all; see `unknown_words`."""
        return unknown_words(self._tokenizer, text)

    def known_part(self, text: str) -> str:
        """Return a text without the words that the tokenizer does not know at all; as it is where it knows none."""
        unknown = set(self.unknown_words(text))
        known = [word for word in text.split() if word not in unknown]
        return " ".join(known) if unknown and known else text

    def known_words(self) -> list[str]:
        """List the whole words of the tokenizer's vocabulary."""
        return [word for word in self._tokenizer.get_vocab() if word.isalpha()]

    @torch.inference_mode()
    def encode_text(self, texts: list[str], normalized: bool = True) -> torch.Tensor:
        """Encode the known words of N texts: float32 (N, D) on the model's device, L2-normalized if `normalized`.

        Unknown words would all be the same token, of which the model has learned nothing; see `known_part`.

        Raises:
            PromptError: a text of more tokens than the model can take.
        """
        known = [self.known_part(text) for text in texts]
        features = self.model.encode_text(self.tokenize(known or [""]))[: len(texts)].float()
        return F.normalize(features, dim=-1) if normalized else features

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Convert images, uint8 (N, H, W, 3), to the model's input, float32 (N, 3, S, S) on its device.

        The whole image is resized to the square, bicubic with antialias, without a crop: every part gets a patch.

        Raises:
            InputError: another shape or type.
        """
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype not in (np.uint8, torch.uint8):
            raise InputError(
                f"Expected images of uint8 (N, H, W, 3), got {images.dtype} {tuple(images.shape)}.", "Give RGB images."
            )
        pixels = scale(to_device(self.device, images))
        size = (self.image_size, self.image_size)
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return (pixels - self._mean) / self._std

    @torch.inference_mode()
    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode the output of `preprocess`: float32 (N, D) on the model's device, L2-normalized."""
        return F.normalize(self.model.encode_image(pixels.to(self.device)).float(), dim=-1)


def load_tokenizer(folder: Path) -> BertWordPieceTokenizer:
    """Load the tokenizer of a model's folder.

    Raises:
        ModelError: see `clip_config.read_preprocessing`.
    """
    lower_case = read_preprocessing(folder).lower_case
    return BertWordPieceTokenizer.from_file(str(folder / "vocab.txt"), lowercase=lower_case)


def unknown_words(tokenizer: BertWordPieceTokenizer, text: str) -> list[str]:
    """List the words of `text` that a tokenizer does not know at all: it makes [UNK] of all their letters.

    Raises:
        PromptError: half characters.
    """

    def is_unknown(word: str) -> bool:
        encoding = tokenizer.encode(word, add_special_tokens=False)
        pieces = [(token, word[start:end]) for token, (start, end) in zip(encoding.tokens, encoding.offsets)]
        pieces = [piece for piece in pieces if any(map(str.isalnum, piece[1]))] or pieces
        return all(token == "[UNK]" for token, _ in pieces)

    _require_text(text)
    return [word for word in text.split() if is_unknown(word)]


def _require_text(text: str) -> None:
    """Refuse unpaired surrogates, which JSON and the command line can hold, before the tokenizer reads them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"Expected a prompt of valid text, got {text[:40]!r}.", "Write it in UTF-8.") from error


@torch.inference_mode(False)  # no gradient flows through weights that are made in it, as M2IB needs
def load_clip(name: str, device: torch.device | str = "cpu", models_dir: Path | None = None) -> ClipModel:
    """Load a text-image model of the catalogue, in float32, from open_clip's layout or the Hugging Face one, offline.

    Args:
        models_dir: a folder of models that is searched first.

    Raises:
        ModelError: unknown, absent, damaged, or of another architecture than its configuration says.
    """
    folder = find_model_folder(find(name, "clip", models_dir), models_dir)
    model = build_clip(folder)
    load_weights(model, folder)
    _check_fits(model, folder)
    model = with_fast_linear(model).to(device, torch.float32).eval().requires_grad_(False)
    width = read_config(folder / "open_clip_config.json")["model_cfg"]["embed_dim"]
    return ClipModel(name, model, folder, read_statistics(folder, width), read_predictor(folder))


def load_weights(model: TextImageModel, folder: Path) -> None:
    """Load the weights of a folder, in either layout, strictly.

    Weights in the Hugging Face layout need another epsilon in the image tower's norms, which is set here.

    Raises:
        ModelError: no weights, an unreadable file, or names or shapes that do not fit; the message names a few.
    """
    path = _weights_of(folder)
    state = read_weights(path)
    if is_hugging_face(state):
        state = to_open_clip(state)
        set_layer_norm_epsilon(model.visual)
    load_strictly(model, state, path)


def _weights_of(folder: Path) -> Path:
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise ModelError(
            f"'{folder}' holds none of {', '.join(WEIGHTS)}.", "Put the weights there under one of these names."
        )
    return path


def _check_fits(model: TextImageModel, folder: Path) -> None:
    """Refuse a vocabulary or a context length that the text tower has no embeddings for, or images of another size.

    Raises:
        ModelError: naming which.
    """
    shape, words, preprocess = model.text.config, load_tokenizer(folder).get_vocab_size(), read_preprocessing(folder)
    length, side = preprocess.context_length, preprocess.image_size
    limits = (
        ("a vocabulary", words, shape.vocab_size),
        ("a context length", length, getattr(shape, "max_position_embeddings", length)),
    )
    misfits = [(what, f"{limit} at most", value) for what, value, limit in limits if value > limit]
    patches: Any = getattr(getattr(model.visual, "trunk", None), "patch_embed", None)
    sides = getattr(patches, "img_size", None)  # timm's; our own towers are built for the size
    if sides and set(sides) != {side}:
        misfits.append(("an image size", f"{sides[0]}", side))
    for what, expected, value in misfits:
        raise ModelError(
            f"'{folder}' does not fit together: expected {what} of {expected}, got {value}.",
            "Get the weights, the configurations and the vocabulary from the same source.",
        )


def build_clip(folder: Path) -> TextImageModel:
    """Build a model with random weights, shaped by open_clip_config.json and config.json (BERT), without the network.

    Raises:
        ModelError: a configuration is missing, unreadable, not of this kind of model, or refers to code, another folder
            or the network. Errors of torch when memory runs out.
    """
    config = read_config(folder / "open_clip_config.json").get("model_cfg", {})
    bert = read_config(folder / "config.json")
    read_preprocessing(folder)
    try:
        with torch.device("cpu"):  # and float32, whatever the program's defaults are
            if is_own(config):
                return build(config, bert).float()
            from .open_clip_model import build_open_clip

            return build_open_clip(config, folder).float()
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            f"No model can be built from open_clip_config.json and config.json in '{folder}': {error}.",
            "Get both files again.",
        ) from error
