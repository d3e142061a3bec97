"""Find a model's files in a folder that the user names, among the shipped models, or in the download cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from ..errors import ModelError
from ..files.checksums import read_recorded, sha256_of
from ..resources import resource_path
from . import catalogue
from .catalogue import MODELS
from .catalogue_entry import Kind, Model
from .trained import ENTRY, trained_folder, trained_models

ENVIRONMENT = "MEDCLIPSAM_MODELS"
"""Environment variable that names an offline folder of models."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt")

State = Literal["shipped", "offline", "downloaded", "trained", "incomplete", "damaged", "missing"]


@dataclass(frozen=True)
class Status:
    """The folder and the state of a model.

    Args:
        state: "shipped", "offline" (in a folder that the user named), "downloaded" or "trained" (the user's own) for a
            usable model; "incomplete", "damaged" or "missing" for an unusable one.
        folder: where the model is, or would be downloaded to.
        detail: the problem or, after a check of the checksums, the files that have none; otherwise empty.
    """

    model: Model
    state: State
    folder: Path
    detail: str = ""

    @property
    def usable(self) -> bool:
        """Whether the model can be loaded."""
        return self.state in ("shipped", "offline", "downloaded", "trained")

    def as_dict(self) -> dict[str, str | bool | int | None]:
        """Return what users and other programs need to know about the model, as JSON values."""
        names = ("name", "kind", "title", "purpose", "seen", "tested", "synthetic", "license", "source", "downloadable")
        return {name: getattr(self.model, name) for name in names} | {
            "state": self.state,
            "usable": self.usable,
            "folder": str(self.folder),
            "detail": self.detail,
            "download_bytes": self.model.size if self.model.downloadable else None,
        }


def cache_folder() -> Path:
    """Return the user's folder of downloaded models; XDG_CACHE_HOME or its equivalent moves it."""
    return Path(platformdirs.user_cache_dir("medclipsam", appauthor=False)) / "models"


def status(model: Model, models_dir: Path | str | None = None, checksums: bool = False) -> Status:
    """Look up a model in `models_dir`, in $MEDCLIPSAM_MODELS, and then among the shipped models or in the user's cache.

    Args:
        models_dir: a folder of models, each in a subfolder named as in the catalogue.
        checksums: read every file and compare its SHA-256, not only its size; takes about a second per gigabyte.

    Raises:
        ModelError: a folder that the user named does not exist.
    """
    for origin, folder in _candidates(model, models_dir):
        if folder.is_dir() and any(path.suffix in WEIGHT_SUFFIXES for path in folder.glob("[!.]*")):
            return _inspect(model, origin, folder, checksums)
    if folder.is_dir() and any(folder.iterdir()):
        return Status(
            model,
            "incomplete",
            folder,
            "its download did not finish" if model.downloadable else "it holds no weights",
        )
    return Status(model, "missing", folder)


def statuses(models_dir: Path | str | None = None, checksums: bool = False) -> list[Status]:
    """Return the status of every model in the catalogue, in its order, and of the user's own models.

    A folder whose medclipsam.json cannot be used is listed as "damaged", under the folder's name.
    """
    found = [status(model, models_dir, checksums) for model in models(models_dir)]
    taken = {(known.model.name, known.model.kind) for known in found}
    _, unusable = trained_models(_own_folders(models_dir))
    for entry in unusable:
        if (entry.name, entry.kind) not in taken:
            model = Model(entry.name, entry.kind, "", "", "", "", entry.folder.name, 0, (), trained=True)
            found.append(Status(model, "damaged", entry.folder, entry.error.problem.rstrip(".")))
    return found


def models(models_dir: Path | str | None = None) -> list[Model]:
    """List all entries of the catalogue, then the user's own models."""
    return [*MODELS, *trained_models(_own_folders(models_dir))[0]]


def _named_folders(models_dir: Path | str | None) -> list[Path]:
    """List the folders of models that are named by an option or by the environment.

    Raises:
        ModelError: one of them does not exist.
    """
    folders = []
    for named, by in ((models_dir, "--models-dir"), (os.environ.get(ENVIRONMENT), f"${ENVIRONMENT}")):
        if named:
            folders.append(Path(named).expanduser())
            if not folders[-1].is_dir():
                raise ModelError(f"The folder of models '{named}' does not exist.", f"Create it, or correct {by}.")
    return folders


def _own_folders(models_dir: Path | str | None) -> list[Path]:
    """List the folders that may contain the user's own models."""
    return [*_named_folders(models_dir), trained_folder()]


def find(name: str, kind: Kind | None = None, models_dir: Path | str | None = None) -> Model:
    """Find an entry by name in the catalogue and among the user's own models; see `catalogue.find`.

    Raises:
        ModelError: there is no such model, or its medclipsam.json cannot be used; the message says why.
    """
    own, unusable = trained_models(_own_folders(models_dir))
    try:
        return catalogue.find(name, kind, [*MODELS, *own])
    except ModelError as error:
        for entry in unusable:
            if entry.name == name:
                raise entry.error from None
        elsewhere = (
            "" if models_dir else " A model of your own may need --models-dir, the folder that contains its folder."
        )
        raise ModelError(error.problem, f"{error.remedy}{elsewhere}") from None


def own_folder(name: str, models_dir: Path | str | None = None) -> Path:
    """Find the folder of one of the user's own models, even if its entry cannot be used.

    Raises:
        ModelError: the model is in the catalogue, or does not exist.
    """
    if any(name in (model.name, model.folder) for model in MODELS):
        raise ModelError(
            f"'{name}' is a model of the catalogue, not your own.", "Name a model that you trained or added."
        )
    folders = _own_folders(models_dir)
    is_name = bool(name) and Path(name).name == name and not name.startswith(".")
    found = [folder / name for folder in folders if is_name and (folder / name / ENTRY).is_file()]
    if not found:
        places = ", ".join(f"'{folder}'" for folder in folders)
        own = [*(model.name for model in trained_models(folders)[0])]
        raise ModelError(
            f"There is no model of your own named '{name}' in {places}.",
            f"There are: {', '.join(own)}." if own else "Name the folder that contains its folder by --models-dir.",
        )
    return found[0]


def find_model_folder(model: Model, models_dir: Path | str | None = None) -> Path:
    """Find the folder of a usable model.

    Raises:
        ModelError: the model is missing, incomplete or damaged; the message says where it was sought and what to do.
    """
    found = status(model, models_dir)
    if found.usable:
        return found.folder
    run = f"run 'medclipsam models download {model.name}'"
    put = f"put its folder '{model.folder}' into a folder named by --models-dir or ${ENVIRONMENT}."
    if model.shipped:
        remedy = "Reinstall the program."
    elif model.trained:
        remedy = f"Copy what it lacks from the source of the model ({model.source}), or train it again."
    elif not model.downloadable:
        remedy = f"It is not offered for download: {put}"
    elif found.folder == cache_folder() / model.folder:
        remedy = f"R{run[1:]}, or {put}"
    else:
        remedy = f"Put the right files there, or remove that folder and {run}."
    if found.state == "missing":
        places = ", ".join(f"'{folder.parent}'" for _, folder in _candidates(model, models_dir))
        raise ModelError(f"The model '{model.name}' ({model.title}) is not on this machine; searched {places}.", remedy)
    raise ModelError(f"The model '{model.name}' in '{found.folder}' is {found.state}: {found.detail}.", remedy)


def _candidates(model: Model, models_dir: Path | str | None) -> Iterator[tuple[State, Path]]:
    for named in _named_folders(models_dir):
        yield "trained" if model.trained else "offline", named / model.folder
    if model.shipped:
        yield "shipped", resource_path("models") / model.folder
    elif model.trained:
        yield "trained", trained_folder() / model.folder
    else:
        yield "downloaded", cache_folder() / model.folder


def _inspect(model: Model, origin: State, folder: Path, checksums: bool) -> Status:
    """Inspect a folder.

    Users may keep the weights under another name, so only the small files are required by name.
    """
    absent = [
        file.name
        for file in model.files
        if not (folder / file.name).is_file() and not file.name.endswith(WEIGHT_SUFFIXES)
    ]
    if absent:
        return Status(model, "incomplete", folder, f"it lacks {', '.join(absent)}")
    for file in model.files:
        path = folder / file.name
        if file.size is not None and path.is_file() and path.stat().st_size != file.size:
            return Status(model, "damaged", folder, f"'{file.name}' has {path.stat().st_size} bytes, not {file.size}")
    if not checksums:
        return Status(model, origin, folder)
    known = read_recorded(folder) | {file.name: file.sha256 for file in model.files if file.sha256}
    needed = [
        *(file.name for file in model.files),
        *(path.name for path in folder.glob("[!.]*") if path.suffix in WEIGHT_SUFFIXES),
    ]
    present = [name for name in dict.fromkeys(needed) if (folder / name).is_file()]
    for name in present:
        if name in known and sha256_of(folder / name) != known[name]:
            return Status(model, "damaged", folder, f"the checksum of '{name}' is wrong")
    unknown = [name for name in present if name not in known]
    return Status(model, origin, folder, f"no checksum of {', '.join(unknown)}" if unknown else "")


def experience(names: Iterable[tuple[str, Kind]], models_dir: Path | None = None) -> list[dict[str, str]]:
    """Return what some models, given by name and kind, were trained and tested on, as JSON values.

    Raises:
        ModelError: one of the models does not exist.
    """
    found = [find(name, kind, models_dir) for name, kind in names]
    return [{"name": m.name, "kind": m.kind, "seen": m.seen, "tested": m.tested} for m in found]
