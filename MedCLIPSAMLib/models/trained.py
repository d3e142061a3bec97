"""Models that the user trained: folders with an entry, which join the catalogue.

A folder of a trained model holds the files of any text-image model, and medclipsam.json with what the catalogue
says about others. They are in the user's folder of trained models, or in any folder of models that is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import ModelError
from ..files.folder import atomic_folder
from ..files.json_text import read_json
from ..renamed_settings import with_current_names
from .catalogue import CLIP_FILES, MODELS, find
from .catalogue_entry import Model, ModelFile

ENTRY = "medclipsam.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
MAX_SIZE = 4096
"""Maximum image size of a SAM 2, in pixels."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Training:
    """Facts about a trained model, for people.

    Args:
        base: name of the model it was trained from.
        data: one line about its captions.
        settings: of the training, as JSON values.
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
        ModelError: other characters than a-z, 0-9, dot, dash and underscore, or the name of a model of the catalogue.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"'{name}' cannot be the name of a model.",
            "Use small letters, digits, dots, dashes and underscores, such as 'my-biomedclip'.",
        )
    if any(model.name == name for model in MODELS):
        raise ModelError(f"The catalogue has a model '{name}' already.", "Choose another name.")


def read_entry(folder: Path) -> Model | None:
    """Read the catalogue entry of a trained model's folder; None where there is none, or none that can be read."""
    try:
        entry = read_json(folder / ENTRY, 1 << 20)
        if entry.get("kind") == "sam":
            return _sam_entry(entry, folder)
        saliency = _numbers(entry["saliency"])
        by_word = {str(word): _numbers(changes) for word, changes in entry["by_word"].items()}
        name = str(entry["name"])
        check_name(name)
        return Model(
            name=name,
            kind="clip",
            title=_line(entry["title"], 200),
            purpose=_line(entry["purpose"], 400),
            licence=_line(entry["licence"], 200),
            source=_line(entry["base"], 200),
            folder=folder.name,
            image_size=int(entry["image_size"]),
            files=tuple(map(ModelFile, (*CLIP_FILES, WEIGHTS_FILE))),
            seen=_line(entry["purpose"], 400),
            saliency=saliency,
            by_word=by_word,
            map_by=str(entry.get("map_by", "m2ib")),
            answer=dict(with_current_names(entry.get("answer", {}))),
            trained=True,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, ModelError):
        return None


def _sam_entry(entry: dict, folder: Path) -> Model:
    """Make the entry of a SAM 2 that the user has, such as MedSAM2: the architecture of a model of the catalogue.

    {"kind": "sam", "name", "title", "purpose", "licence", "base": name in the catalogue, "image_size"}; the folder may
    hold its own configuration, see `sam.load_sam`.
    """
    name, size = str(entry["name"]), int(entry["image_size"])
    check_name(name)
    base = find(str(entry["base"]), "sam")
    if not 32 <= size <= MAX_SIZE or size % 32:
        raise ValueError(f"Expected an image size of a multiple of 32 up to {MAX_SIZE}, got {size}")
    return Model(
        name=name,
        kind="sam",
        title=_line(entry["title"], 200),
        purpose=_line(entry["purpose"], 400),
        licence=_line(entry["licence"], 200),
        source=_line(entry.get("source", base.source), 200),
        folder=folder.name,
        image_size=size,
        files=(),
        seen=_line(entry["purpose"], 400),
        config=base.config,
        options=dict(base.options) | {"image_size": size},
        trained=True,
    )


def _line(value: object, limit: int) -> str:
    """Make one printable line of a value, of at most `limit` characters: it is shown in a terminal and in the panel."""
    return "".join(letter if letter.isprintable() else " " for letter in str(value))[:limit]


def _numbers(settings: dict) -> dict[str, float]:
    """Read settings of M2IB, which are numbers, or yes and no."""
    kinds = {"layer": int, "beta": float, "steps": int, "samples": int, "earliest": int}
    kinds |= {"mirror": bool, "finer": bool}
    return {name: kinds[name](value) for name, value in settings.items()}


def trained_models(folders: list[Path]) -> list[Model]:
    """Find the entries of the trained models in some folders of models; the first of a name counts."""
    found: dict[str, Model] = {}
    for parent in folders:
        for path in sorted(parent.glob(f"*/{ENTRY}")):
            entry = read_entry(path.parent)
            if entry is not None and entry.folder == entry.name:
                found.setdefault(entry.name, entry)
    return list(found.values())


def write_trained(
    parent: Path, base: Model, name: str, training: Training, write_model: Callable[[Path], None]
) -> Path:
    """Add a trained model to a folder of models, whole or not at all; one of the same name is replaced.

    Args:
        base: the entry of the model that it was trained from, whose licence and settings of the maps it takes over.
        write_model: writes configurations, vocabulary and `WEIGHTS_FILE` into the folder that it is given.

    Returns:
        Its folder.

    Raises:
        ModelError: see `check_name`. OutputError: it cannot be written.
    """
    check_name(name)
    entry = {
        "name": name,
        "title": f"{base.title}, fine-tuned: {name}",
        "purpose": f"Fine-tuned from {base.name} on {training.data}.",
        "licence": f"That of {base.name} ({base.licence}), and what the captions' licence asks",
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
        (temporary / ENTRY).write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    return target
