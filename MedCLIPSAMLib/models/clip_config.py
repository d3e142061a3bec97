"""The small files in a text-image model's folder, checked before anything is built from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files.json_text import read_json
from ..files.regular import check_regular

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and std of the three channels in OpenAI's CLIP, which are open_clip's defaults."""

LIMIT = 1 << 20
"""Maximum size of a configuration file in bytes."""

MAX_LAYERS = 1000
"""Maximum number of layers in a configuration; more could take hours to build before the weights prove not to fit."""

VOCABULARY_LIMIT = 1 << 24
CODE = ("auto_map", "custom_pipelines", "quantization_config", "attn_implementation", "use_kernels", "adapters")
"""Entries of a configuration that would make transformers fetch or run something else."""

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Preprocessing:
    """How images and texts are preprocessed for a model.

    Args:
        image_size: edge of the model's square input, in pixels.
        context_length: maximum number of tokens in a text.
        mean, std: normalization of the three channels, for values from 0 to 1.
        lower_case: whether texts are lowercased.
    """

    image_size: int
    context_length: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    lower_case: bool


def read_config(path: Path) -> dict[str, Any]:
    """Read a configuration file, which holds a JSON object.

    Raises:
        ModelError: the file is unreadable, too large or nested too deeply, is not an object, makes transformers load
            code or other files, or has too many layers.
    """
    try:
        content = read_json(path, LIMIT)
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path}' cannot be read: {error}.", "Get the file again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"Expected a JSON object in '{path}'.", "Get the file again.")
    code_names = [name for name in content if name.strip("_") in CODE or name.endswith("_implementation")]
    if code_names:
        raise ModelError(f"'{path}' asks for custom code in '{code_names[0]}'.", "Get the file again.")
    if max(_layers(content), default=0) > MAX_LAYERS:
        raise ModelError(f"'{path}' asks for more than {MAX_LAYERS} layers.", "Get the file again.")
    return content


def _layers(value: Any, name: str = "") -> Iterator[int]:
    """Yield all numbers of layers in a configuration, at any depth."""
    if isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _layers(inner, inner_name)
    elif isinstance(value, list):
        for inner in value:
            yield from _layers(inner, name)
    elif name.endswith("layers") and isinstance(value, int):
        yield value


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read open_clip_config.json and tokenizer_config.json, and check vocab.txt.

    Raises:
        ModelError: a file cannot be used; the message says which and why.
    """
    path = folder / "open_clip_config.json"
    config, tokenizer = read_config(path), read_config(folder / "tokenizer_config.json")
    try:
        model, preprocess = config["model_cfg"], config.get("preprocess_cfg") or {}
        found = Preprocessing(
            read_integer("image_size", model["vision_cfg"]["image_size"]),
            read_integer("context_length", model["text_cfg"].get("context_length", 77)),
            read_channels("mean", preprocess.get("mean") or OPENAI_MEAN),
            read_channels("std", preprocess.get("std") or OPENAI_STD, positive=True),
            tokenizer.get("do_lower_case", True) is not False,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ModelError(f"'{path}' cannot be used: {what}.", "Get the file again.") from error
    check_vocabulary(folder / "vocab.txt")
    return found


def check_vocabulary(path: Path) -> None:
    """Refuse a vocabulary that the tokenizer could not use.

    Raises:
        ModelError: the file is unreadable, not UTF-8, or too large, or lacks BERT's special tokens.
    """
    check_regular(path)
    try:
        if path.stat().st_size > VOCABULARY_LIMIT:
            raise ValueError(f"it has more than {VOCABULARY_LIMIT} bytes")
        words = set(path.read_text(encoding="utf-8").splitlines())
        lacking = [word for word in SPECIAL if word not in words]
        if lacking:
            raise ValueError(f"it lacks {lacking[0]}")
    except (OSError, ValueError) as error:
        raise ModelError(f"The vocabulary '{path}' cannot be used: {error}.", "Get the file again.") from error


def read_integer(name: str, value: Any) -> int:
    """Return a size from a configuration; raise ValueError if it is not an integer from 1 to 4096."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
        raise ValueError(f"{name} is {str(value)[:50]}")
    return value


def read_channels(name: str, values: Any, positive: bool = False) -> tuple[float, float, float]:
    """Return three channels' values; raise ValueError if they are not three finite (or finite positive) numbers."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or (positive and min(numbers) <= 0):
        raise ValueError(f"{name} is {str(values)[:50]}")
    return numbers[0], numbers[1], numbers[2]
