"""Read a SAM 2 configuration file, which may only build known parts of SAM 2 with known settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ..errors import ModelError
from ..files.regular import check_regular

LIMIT = 1 << 16
"""Maximum size of a file in bytes."""

LARGEST, MAX_LAYERS = 1 << 20, 1000
"""Maximum of any number in a configuration, and of a number of layers; SAM 2's are far smaller."""

WHOLE = ("sam2.modeling.sam2_base.SAM2Base", "sam2.sam2_video_predictor.SAM2VideoPredictor")
PARTS = tuple(
    f"sam2.modeling.{part}"
    for part in (
        "backbones.hieradet.Hiera",
        "backbones.image_encoder.FpnNeck",
        "backbones.image_encoder.ImageEncoder",
        "memory_attention.MemoryAttention",
        "memory_attention.MemoryAttentionLayer",
        "memory_encoder.CXBlock",
        "memory_encoder.Fuser",
        "memory_encoder.MaskDownSampler",
        "memory_encoder.MemoryEncoder",
        "position_encoding.PositionEmbeddingSine",
        "sam.transformer.RoPEAttention",
    )
)
DECODER = "sam2.modeling.sam.mask_decoder.MaskDecoder"
PLAIN = {"sam_mask_decoder_extra_args": DECODER}
"""Settings that are tables, each with the part of SAM 2 whose settings it holds."""

NEVER = ("self", "weights_path", "args", "kwargs")
"""Parameters that are refused: sam2 would unpickle the file that `weights_path` names."""


def read_sam_config(path: Path) -> dict[str, Any]:
    """Read the part `model` of a configuration, as plain values.

    Raises:
        ModelError: the file is unreadable, larger than 64 KiB or not YAML; it has anchors, interpolations, or settings
            that the parts of sam2 do not have; or it calls anything other than these parts.
    """
    check_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise ValueError(f"it has more than {LIMIT} bytes")
        found = yaml.load(content.decode("utf-8"), _Loader)
        if not isinstance(found, dict) or list(found) != ["model"] or not isinstance(found["model"], dict):
            raise ValueError("expected a table with the one entry 'model'")
        _check(found["model"], found["model"].get("_target_"), WHOLE)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(f"No SAM 2 can be built from '{path}': {error}.", "Get the configuration again.") from error
    except RecursionError:
        raise ModelError(
            f"No SAM 2 can be built from '{path}': it is nested too deeply.", "Get the configuration again."
        ) from None
    return found["model"]


class _Loader(yaml.SafeLoader):
    """A loader of plain YAML that refuses anchors and duplicate keys, and reads 1e-6 as a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent) or getattr(self.peek_event(), "anchor", None):
            raise ValueError("it has anchors")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        if len(set(map(str, names))) < len(names):
            raise ValueError("it has a duplicate key")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _check(part: Mapping[Any, Any], target: Any, allowed: tuple[str, ...]) -> None:
    """Check a table that builds an object: the class that it calls, and each of its settings."""
    if target not in allowed:
        raise ValueError(f"it would run '{target}', which is not a part of SAM 2")
    known = _settings(target)
    for name, value in part.items():
        if name == "_target_":
            continue
        if name not in known:
            raise ValueError(f"'{name}' is not a setting of '{target.rpartition('.')[2]}'")
        if name in PLAIN and isinstance(value, dict):
            _check(value, PLAIN[name], (DECODER,))
        else:
            _check_value(name, value)


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, dict):
        _check(value, value.get("_target_"), PARTS)
    elif isinstance(value, list):
        if len(value) > 64:
            raise ValueError(f"'{name}' has {len(value)} values")
        for item in value:
            if isinstance(item, dict | list):
                raise ValueError(f"'{name}' holds more than numbers")
            _check_value(name, item)
    elif isinstance(value, str):
        if not re.fullmatch(r"[a-z_]{1,20}", value):
            raise ValueError(f"'{name}' cannot be {value[:50]!r}")
    elif not (value is None or isinstance(value, int | float)) or not abs(value or 0) <= _largest(name):
        raise ValueError(f"'{name}' cannot be {str(value)[:50]}")


def _largest(name: str) -> int:
    return MAX_LAYERS if name == "stages" or name.endswith("layers") else LARGEST


def _settings(target: str) -> set[str]:
    """List the parameters of a class of sam2 and of its base classes."""
    module, _, name = (WHOLE[1] if target in WHOLE else target).rpartition(".")
    classes = [base for base in getattr(import_module(module), name).__mro__ if base.__module__.startswith("sam2.")]
    return {name for base in classes for name in inspect.signature(base.__init__).parameters} - set(NEVER)
