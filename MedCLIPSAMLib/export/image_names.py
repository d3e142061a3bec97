"""The names of images in a manifest: paths that do not identify this machine, or only numbers."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.json_text import read_json, write_json
from ..files.relative import relative_path

FOLDERS = "image_folders.json"
"""File in a dataset, readable only by its owner: the folders to which the paths in its manifest are relative."""


WORD = 4
"""Minimum length of a name that is also hidden inside longer words."""


class ImageNames:
    """Names the images of a dataset relative to the folders they were found in.

    A record has as "image" the relative path, with "/" as the separator, and as "folder" the index of its folder in
    `image_folders.json`. That file can be left out when a dataset is passed on.

    Args:
        dataset: the dataset's folder.
        anonymous: give images the names of their cases, and leave out folders, series and times.
    """

    def __init__(self, dataset: Path, anonymous: bool = False) -> None:
        self._path, self.anonymous = dataset / FOLDERS, anonymous
        self._stored = _read_folders(self._path)
        self._folders = list(self._stored)

    @property
    def stored(self) -> tuple[str, ...]:
        """The folders in which the images of the dataset were found."""
        return tuple(self._stored)

    def describe(self, case: str, image: Path, root: Path, series: str | None = None) -> dict[str, Any]:
        """Return the fields of a case's record that name its image; call `store` before writing the record.

        Args:
            root: the folder that the user named, which holds the image.
        """
        if self.anonymous:
            return {"image": case}
        relative = relative_path(image, root)
        if relative.is_absolute():  # on another drive
            root, relative = image.parent, Path(image.name)
        folder = str(root.resolve())
        if folder not in self._folders:
            self._folders.append(folder)
        described: dict[str, Any] = {"image": relative.as_posix(), "folder": self._folders.index(folder)}
        return described | ({"series": series} if series is not None else {})

    def scrub(self, record: Mapping[str, Any], image: Path, root: Path) -> dict[str, Any]:
        """Remove from a record's sentences all file names if cases are anonymous, else only the path of `root`."""
        hide = lambda text: _hide_folder(text, root)
        if self.anonymous:
            hide = lambda text: hide_names(text, image, root)
        hidden: dict[str, Any] = {name: hide(record[name]) for name in ("problem", "remedy") if record.get(name)}
        return {**record, **hidden, "notes": [hide(note) for note in record.get("notes", ())]}

    def store(self) -> None:
        """Write the folders that `describe` has seen, if there are new ones."""
        if self._folders == self._stored:
            return
        self._stored = list(self._folders)
        write_json(self._path, {"folders": self._folders}, private=True)


def hide_names(text: str, image: Path, root: Path) -> str:
    """Remove from a sentence the path of an image, the names in that path, and everything in single quotes."""
    text = _hide_folder(text, root)
    for path in sorted({*_spellings(image), *_spellings(root)}, key=len, reverse=True):
        text = text.replace(path, "...") if os.sep in path else text
    parts = relative_path(image, root).parts
    for part in sorted({image.stem, *parts} - {".", "..", ""}, key=len, reverse=True):
        # A short name is hidden only where it is a whole word: "1" must not be removed from every number.
        pattern = re.escape(part) if len(part) >= WORD else rf"(?<![^\W_]){re.escape(part)}(?![^\W_])"
        text = re.sub(pattern, "...", text)
    return re.sub(r"'[^']*'", "'...'", text)


def _hide_folder(text: str, folder: Path) -> str:
    for path in sorted(_spellings(folder), key=len, reverse=True):
        text = text.replace(f"{path}{os.sep}", "")
    return text


def _spellings(path: Path) -> set[str]:
    """Return the ways in which messages may spell a path."""
    return {str(path), str(path.absolute()), str(path.resolve())} - {".", os.sep}


def find_image(dataset: Path, record: Mapping[str, Any]) -> Path:
    """Return the path of a record's image on this machine.

    Raises:
        InputError: the folder is not known here, or the cases are anonymous.
    """
    image, folder = Path(record["image"]), record.get("folder")
    if image.is_absolute():
        return image
    folders = _read_folders(dataset / FOLDERS)
    if not isinstance(folder, int) or not 0 <= folder < len(folders):
        raise InputError(
            f"'{dataset}' does not say where the image of '{record['case']}' lies.",
            f"It was passed on without {FOLDERS}, or its cases are anonymous. Open the image yourself.",
        )
    return Path(folders[folder]) / image


def _read_folders(path: Path) -> list[str]:
    try:
        folders = read_json(path)["folders"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{path}' cannot be read: {error}.", "Remove it.") from error
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise InputError(f"'{path}' is not a list of folders.", "Remove it.")
    return folders
