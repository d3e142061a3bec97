"""The user's own models: folders with an entry of their own, which join the catalogue.

The folder of a trained model holds the files of a text-image model and medclipsam.json, which contains what the
catalogue says about other models. It is in the user's folder of trained models, or in any folder of models that the
user names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import ModelError
from ..files.checksums import record, sha256_of
from ..files.folder import atomic_folder
from ..files.json_text import read_json, write_json
from ..renamed_settings import RENAMED, with_current_names
from .catalogue import CLIP_FILES, MODELS, find
from .catalogue_entry import Kind, Model, ModelFile

ENTRY = "medclipsam.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MAPS_BY = {"m2ib": (), "cosine": (), "clipseg": ("clipseg/config.json", "clipseg/model.safetensors")}
"""Methods that can compute the maps of a text, M2IB or a locator of `segmentation.locators`, and the files that each
needs in subfolders of the model's folder. The other files in these subfolders belong to the method too."""
MAX_SIZE = 4096
"""Maximum image size of a SAM 2 model, in pixels."""
_OF_ALL = ("name", "title", "purpose", "license", "base", "image_size")
_OF_CLIP = ("saliency", "by_word")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Training:
    """Facts about a trained model, for display.

    Args:
        base: name of the model that it was trained from.
        data: one line about its captions.
        settings: settings of the training, as JSON values.
        figures: measurements, as JSON values.
    """

    base: str
    data: str
    settings: dict
    figures: dict


def trained_folder() -> Path:
    """Return the user's folder of trained models; XDG_DATA_HOME or its equivalent moves it."""
    return Path(platformdirs.user_data_dir("medclipsam", appauthor=False)) / "models"


def check_name(name: str) -> None:
    """Refuse a name that a trained model cannot have.

    Raises:
        ModelError: the name has characters other than a-z, 0-9, dot, hyphen and underscore, or is in the catalogue.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"'{name}' cannot be the name of a model.",
            "Use lowercase letters, digits, dots, hyphens and underscores, such as 'my-biomedclip'.",
        )
    if any(model.name == name for model in MODELS):
        raise ModelError(f"The catalogue already has a model '{name}'.", "Choose another name.")


def read_entry(folder: Path) -> Model:
    """Read the entry of one of the user's own models.

    Raises:
        ModelError: the entry cannot be used; the message says why.
    """
    try:
        entry = read_json(folder / ENTRY, 1 << 20)
        if not isinstance(entry, dict):
            raise ValueError(f"expected an object, got {_line(entry, 40)}")
        entry = {RENAMED.get(name, name): value for name, value in entry.items()}
        if (kind := entry.get("kind", "clip")) not in ("clip", "sam"):
            raise ValueError(f"expected a kind of clip, sam, got {_line(json.dumps(kind), 40)}")
        is_sam = kind == "sam"
        if lacking := [name for name in (*_OF_ALL, *(() if is_sam else _OF_CLIP)) if name not in entry]:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        return _sam_entry(entry, folder) if is_sam else _clip_entry(entry, folder)
    except ModelError as error:
        raise _unusable(folder, error.problem.rstrip(".")) from error
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise _unusable(folder, _line(error, 200)) from error


def _unusable(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"The entry '{folder / ENTRY}' cannot be used: {reason}.",
        "docs/models.md has an example of a complete entry.",
    )


def _clip_entry(entry: dict, folder: Path) -> Model:
    """Make the entry of the user's own text-image model; docs/models.md has an example.

    Its maps come from one of `MAPS_BY`; those of CLIPSeg also need its files in the subfolder `clipseg`.
    """
    name, map_by = str(entry["name"]), str(entry.get("map_by", "m2ib"))
    by_word = {str(word): _numbers(changes) for word, changes in _object(entry["by_word"]).items()}
    check_name(name)
    if map_by not in MAPS_BY:
        raise ValueError(f"expected a map_by of {', '.join(MAPS_BY)}, got '{_line(map_by, 40)}'")
    return Model(
        name=name,
        kind="clip",
        **_about(entry, folder),
        source=_line(entry["base"], 200),
        image_size=_typed("image_size", entry["image_size"], int),
        files=tuple(map(ModelFile, (*CLIP_FILES, WEIGHTS_FILE, *MAPS_BY[map_by]))),
        saliency=_numbers(entry["saliency"]),
        by_word=by_word,
        map_by=map_by,
        answer=with_current_names(_object(entry.get("answer", {}))),
    )


def _sam_entry(entry: dict, folder: Path) -> Model:
    """Make the entry of the user's own SAM 2 model, such as MedSAM2, with the architecture of a catalogue model.

    The keys are {"kind": "sam", "name", "title", "purpose", "license", "base": name in the catalogue, "image_size"}.
    The folder may contain its own configuration; see `sam.load_sam`.
    """
    name, size = str(entry["name"]), _typed("image_size", entry["image_size"], int)
    check_name(name)
    base = find(str(entry["base"]), "sam")
    check_sam_size(size)
    return Model(
        name=name,
        kind="sam",
        **_about(entry, folder),
        source=_line(entry.get("source", base.source), 200),
        image_size=size,
        files=(),
        config=base.config,
        options=dict(base.options) | {"image_size": size},
    )


def check_sam_size(size: int) -> None:
    """Refuse an image size that no SAM 2 model can have.

    Raises:
        ValueError: the size is not a multiple of 32, or is too large.
    """
    if not 32 <= size <= MAX_SIZE or size % 32:
        raise ValueError(f"expected a multiple of 32 up to {MAX_SIZE} as image_size, got {size}")


def _about(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Collect the descriptive fields of an entry of either kind."""
    purpose = _line(entry["purpose"], 400)
    words = {"title": _line(entry["title"], 200), "license": _line(entry["license"], 200), "purpose": purpose}
    return words | {"seen": purpose, "folder": folder.name, "trained": True}


def _line(value: object, limit: int) -> str:
    """Convert a value to one printable line of at most `limit` characters, for the terminal and the panel."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))[:limit]


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object of settings, got {_line(value, 40)}")
    return value


def _numbers(settings: Any) -> dict[str, float]:
    """Read settings of M2IB, which are numbers or booleans."""
    kinds = {"layer": int, "beta": float, "steps": int, "samples": int, "earliest": int}
    kinds |= {"mirror": bool, "finer": bool}
    if unknown := [name for name in _object(settings) if name not in kinds]:
        raise ValueError(f"expected settings of M2IB ({', '.join(kinds)}), got '{_line(unknown[0], 40)}'")
    return {name: _typed(name, value, kinds[name]) for name, value in settings.items()}


def _typed(name: str, value: Any, kind: type) -> Any:
    """Return a JSON value after checking its type; an integer is accepted as a float too."""
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    expected = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    raise ValueError(f"expected {expected} as {name}, got {_line(json.dumps(value), 40)}")


@dataclass(frozen=True)
class UnusableEntry:
    """A model's folder whose entry cannot be used.

    Args:
        name: name of the folder.
        kind: the kind that the entry claims; "clip" if it claims none.
        error: why it cannot be used.
    """

    folder: Path
    name: str
    kind: Kind
    error: ModelError


def trained_models(folders: list[Path]) -> tuple[list[Model], list[UnusableEntry]]:
    """Find the entries of the trained models in some folders of models; the first entry of each name is used."""
    found: dict[str, Model] = {}
    unusable: list[UnusableEntry] = []
    for path in (path.parent for parent in folders for path in sorted(parent.glob(f"[!.]*/{ENTRY}"))):
        try:
            entry = read_entry(path)
            if entry.folder != entry.name:
                raise _unusable(path, f"it names the model '{entry.name}', but its folder is '{_line(path.name, 64)}'")
            found.setdefault(entry.name, entry)
        except ModelError as error:
            unusable.append(UnusableEntry(path, _line(path.name, 64), _claimed_kind(path), error))
    return list(found.values()), unusable


def _claimed_kind(folder: Path) -> Kind:
    with suppress(OSError, ValueError):
        entry = read_json(folder / ENTRY, 1 << 20)
        if isinstance(entry, dict) and entry.get("kind") == "sam":
            return "sam"
    return "clip"


def write_trained(
    parent: Path, base: Model, name: str, training: Training, write_model: Callable[[Path], None]
) -> Path:
    """Add a trained model to a folder of models atomically, replacing a model of the same name.

    The SHA-256 checksums of its files are recorded, as for a download.

    Args:
        parent: the folder of models.
        base: entry of the model that it was trained from; its license and its settings for the maps are taken over.
        write_model: writes configurations, vocabulary and `WEIGHTS_FILE` into a given folder.

    Returns:
        The model's folder.

    Raises:
        ModelError: the name is not allowed; see `check_name`.
        OutputError: the folder cannot be written.
    """
    check_name(name)
    entry = {
        "name": name,
        "title": f"{base.title}, fine-tuned: {name}",
        "purpose": f"Fine-tuned from {base.name} on {training.data}.",
        "license": f"That of {base.name} ({base.license}), and what the captions' license asks",
        "base": training.base,
        "image_size": base.image_size,
        "saliency": dict(base.saliency),
        "by_word": {word: dict(changes) for word, changes in base.by_word.items()},
        "map_by": base.map_by,
        "answer": dict(base.answer),
        "settings": training.settings,
        "figures": training.figures,
    }
    target = parent / name
    with atomic_folder(target) as temporary:
        write_model(temporary)
        for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
            record(temporary, path.relative_to(temporary).as_posix(), sha256_of(path), path.stat().st_size, "")
        write_json(temporary / ENTRY, entry)
    return target
