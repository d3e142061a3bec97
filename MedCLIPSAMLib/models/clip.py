"""BiomedCLIP and similar models, which encode texts and images into one space, loaded from a folder."""

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
"""File names of the weights in a model's folder, in order of search; the keys in the file tell the layout."""


class ClipModel:
    """A text-image model with its tokenizer and image normalization.

    Args:
        name: name in the catalogue.
        model: the model in evaluation mode, with frozen parameters.
        folder: the folder with vocab.txt, tokenizer_config.json and open_clip_config.json.
        feature_statistics: statistics of its training images; None if there are none.
        dsc_predictor: predicts the DSC of masks; None if none was fitted.
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
        """Compute a checksum of the model's files: configurations, vocabulary and weights."""
        files = [self._folder / name for name in CLIP_FILES] + [_weights_of(self._folder)]
        digests = [sha256_of(path) for path in files if path.is_file()]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def tokenize(self, texts: list[str], cut: bool = False) -> torch.Tensor:
        """Tokenize N texts to int64 (N, L) on the model's device, with L the length of the longest text.

        Args:
            cut: truncate texts that are too long for the model, keeping their last token, which marks the end.

        Raises:
            PromptError: a text has more tokens than the model takes and `cut` is false, or has unpaired surrogates.
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
                    f"'{self.name}' takes at most {self.context_length}.",
                    "Shorten it.",
                )
        length, padding = max(map(len, encoded), default=0), self.model.text.config.pad_token_id
        padded = [ids + [padding] * (length - len(ids)) for ids in encoded]
        return torch.tensor(padded, dtype=torch.long, device=self.device).reshape(len(texts), length)

    def unknown_words(self, text: str) -> list[str]:
        """List the words of a text that are unknown to the tokenizer; see `unknown_words`."""
        return unknown_words(self._tokenizer, text)

    def known_part(self, text: str) -> str:
        """Return a text without the words that are unknown to the tokenizer; unchanged if it knows none of them."""
        unknown = set(self.unknown_words(text))
        known = [word for word in text.split() if word not in unknown]
        return " ".join(known) if unknown and known else text

    def known_words(self) -> list[str]:
        """List the whole words of the tokenizer's vocabulary."""
        return [word for word in self._tokenizer.get_vocab() if word.isalpha()]

    @torch.inference_mode()
    def encode_text(self, texts: list[str], normalized: bool = True) -> torch.Tensor:
        """Encode the known words of N texts to float32 (N, D) on the model's device, L2-normalized if `normalized`.

        Unknown words would all become one token that means nothing to the model; see `known_part`.

        Raises:
            PromptError: a text has more tokens than the model takes.
        """
        known = [self.known_part(text) for text in texts]
        features = self.model.encode_text(self.tokenize(known or [""]))[: len(texts)].float()
        return F.normalize(features, dim=-1) if normalized else features

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Convert images, uint8 (N, H, W, 3), to the model's input, float32 (N, 3, S, S) on its device.

        The whole image is resized to the square (bicubic with antialiasing) without a crop, so that patches cover all
        of it.

        Raises:
            InputError: the images have another shape or dtype.
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
        """Encode the output of `preprocess` to float32 (N, D) on the model's device, L2-normalized."""
        return F.normalize(self.model.encode_image(pixels.to(self.device)).float(), dim=-1)


def load_tokenizer(folder: Path) -> BertWordPieceTokenizer:
    """Load the tokenizer in a model's folder.

    Raises:
        ModelError: see `clip_config.read_preprocessing`.
    """
    lower_case = read_preprocessing(folder).lower_case
    return BertWordPieceTokenizer.from_file(str(folder / "vocab.txt"), lowercase=lower_case)


def unknown_words(tokenizer: BertWordPieceTokenizer, text: str) -> list[str]:
    """List the words of a text that a tokenizer does not know at all, and turns into nothing but [UNK].

    Raises:
        PromptError: the text has unpaired surrogates.
    """

    def is_unknown(word: str) -> bool:
        encoding = tokenizer.encode(word, add_special_tokens=False)
        pieces = [(token, word[start:end]) for token, (start, end) in zip(encoding.tokens, encoding.offsets)]
        pieces = [piece for piece in pieces if any(map(str.isalnum, piece[1]))] or pieces
        return all(token == "[UNK]" for token, _ in pieces)

    _require_text(text)
    return [word for word in text.split() if is_unknown(word)]


def _require_text(text: str) -> None:
    """Refuse unpaired surrogates, which can come from JSON or the command line, before the tokenizer reads them."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"Expected valid text as a prompt, got {text[:40]!r}.", "Write it in UTF-8.") from error


@torch.inference_mode(False)  # M2IB needs gradients, which do not flow through weights made in inference mode
def load_clip(name: str, device: torch.device | str = "cpu", models_dir: Path | None = None) -> ClipModel:
    """Load a text-image model of the catalogue offline, in float32, from open_clip's or the Hugging Face layout.

    Args:
        name: name in the catalogue, or of one of the user's own models.
        device: the device to load it on.
        models_dir: a folder of models that is searched first.

    Raises:
        ModelError: the model is unknown, missing or damaged, or its weights do not fit its configuration.
    """
    folder = find_model_folder(find(name, "clip", models_dir), models_dir)
    model = build_clip(folder)
    load_weights(model, folder)
    _check_fits(model, folder)
    model = with_fast_linear(model).to(device, torch.float32).eval().requires_grad_(False)
    width = read_config(folder / "open_clip_config.json")["model_cfg"]["embed_dim"]
    return ClipModel(name, model, folder, read_statistics(folder, width), read_predictor(folder))


def load_weights(model: TextImageModel, folder: Path) -> None:
    """Load the weights in a folder strictly, in either layout.

    Weights in the Hugging Face layout need another epsilon in the image tower's layer norms, which is set here.

    Raises:
        ModelError: there are no weights, the file is unreadable, or names or shapes do not fit; the message names a
            few of these.
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
    """Refuse a vocabulary or context length beyond the text tower's embeddings, or an image size unlike the tower's.

    Raises:
        ModelError: something does not fit; the message says what.
    """
    shape, words, preprocess = model.text.config, load_tokenizer(folder).get_vocab_size(), read_preprocessing(folder)
    length, side = preprocess.context_length, preprocess.image_size
    limits = (
        ("a vocabulary", words, shape.vocab_size),
        ("a context length", length, getattr(shape, "max_position_embeddings", length)),
    )
    misfits = [(what, f"at most {limit}", value) for what, value, limit in limits if value > limit]
    patches: Any = getattr(getattr(model.visual, "trunk", None), "patch_embed", None)
    sides = getattr(patches, "img_size", None)  # timm's; this package's own towers are built for the configured size
    if sides and set(sides) != {side}:
        misfits.append(("an image size", f"{sides[0]}", side))
    for what, expected, value in misfits:
        raise ModelError(
            f"'{folder}' does not fit together: expected {what} of {expected}, got {value}.",
            "Get the weights, the configurations and the vocabulary from the same source.",
        )


def build_clip(folder: Path) -> TextImageModel:
    """Build a model with random weights from open_clip_config.json and config.json (BERT), without the network.

    Errors of torch when memory runs out are not caught.

    Raises:
        ModelError: a configuration is missing, unreadable, or not of this kind of model, or refers to code, another
            folder or the network.
    """
    config = read_config(folder / "open_clip_config.json").get("model_cfg", {})
    bert = read_config(folder / "config.json")
    read_preprocessing(folder)
    try:
        with torch.device("cpu"):  # ignores the program's default device; .float() below undoes its default dtype
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
