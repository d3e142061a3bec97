"""How a manifest names the image of a case: by a path that does not identify this machine, or by a number only."""

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
"""In a dataset, readable by its owner only: the folders that the paths of its manifest are relative to."""


WORD = 4
"""Minimum length of a name that is hidden inside longer words too."""


class ImageNames:
    """Names the images of a dataset relative to the folders they were found in.

    A record has the path as "image", with "/" between its parts, and as "folder" the place of the folder in
    `image_folders.json`, which may be left out when a dataset is passed on.

    Args:
        dataset: the folder.
        anonymous: give images the names of their cases, and leave folders, series and times out.
    """

    def __init__(self, dataset: Path, anonymous: bool = False) -> None:
        self._path, self.anonymous = dataset / FOLDERS, anonymous
        self._stored = _read_folders(self._path)
        self._folders = list(self._stored)

    @property
    def stored(self) -> tuple[str, ...]:
        """The folders that the images of the dataset were found in."""
        return tuple(self._stored)

    def describe(self, case: str, image: Path, root: Path, series: str | None = None) -> dict[str, Any]:
        """Return the fields of a case's record that name its image; `store` its folder with the record.

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
        """Return a record whose sentences name no file where cases are anonymous; else only no folder above `root`."""
        hide = lambda text: _hide_folder(text, root)
        if self.anonymous:
            hide = lambda text: hide_names(text, image, root)
        hidden: dict[str, Any] = {name: hide(record[name]) for name in ("problem", "remedy") if record.get(name)}
        return {**record, **hidden, "notes": [hide(note) for note in record.get("notes", ())]}

    def store(self) -> None:
        """Write the folders that `describe` has met, if any."""
        if self._folders == self._stored:
            return
        self._stored = list(self._folders)
        write_json(self._path, {"folders": self._folders}, private=True)


def hide_names(text: str, image: Path, root: Path) -> str:
    """Return a sentence without the path of an image, the names in it, and whatever else stands in quotes."""
    text = _hide_folder(text, root)
    for path in sorted({*_spellings(image), *_spellings(root)}, key=len, reverse=True):
        text = text.replace(path, "...") if os.sep in path else text
    parts = relative_path(image, root).parts
    for part in sorted({image.stem, *parts} - {".", "..", ""}, key=len, reverse=True):
        # A short name is hidden where it is a word: "1" must not be taken out of every number.
        pattern = re.escape(part) if len(part) >= WORD else rf"(?<![^\W_]){re.escape(part)}(?![^\W_])"
        text = re.sub(pattern, "...", text)
    return re.sub(r"'[^']*'", "'...'", text)


def _hide_folder(text: str, folder: Path) -> str:
    for path in sorted(_spellings(folder), key=len, reverse=True):
        text = text.replace(f"{path}{os.sep}", "")
    return text


def _spellings(path: Path) -> set[str]:
    """Return a path as messages may spell it."""
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
            f"Such a dataset was passed on without {FOLDERS}, or its cases are anonymous. Open the image yourself.",
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
