"""A record of the files from which the masks in a folder were made, to detect an image replaced under the same name.

Each image adds a line, so the record of a folder of thousands is not rewritten for each of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..files.json_text import parse_json

SOURCES = ".medclipsam-images.jsonl"


def add_source(folder: Path, image: str, source: Mapping[str, Any]) -> None:
    """Record the files of an image.

    Args:
        folder: folder of the masks.
        image: name of the image in the folder.
        source: description of the files; see `export.known.Sources`.

    Raises:
        OutputError: the line cannot be written.
    """
    try:
        with open(folder / SOURCES, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"image": image, **source}))  # "\n" first: a killed run may have cut a line
    except OSError as error:
        raise OutputError(
            f"'{folder / SOURCES}' cannot be written: {error.strerror or error}.",
            "Check the permissions and the free space. The same command continues with the next image.",
        ) from error


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the last record of each image; lines that are not records are skipped."""
    try:
        lines = (folder / SOURCES).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return {}
    known: dict[str, dict[str, Any]] = {}
    for line in lines:
        with suppress(ValueError):
            record = parse_json(line)
            if isinstance(record, dict) and isinstance(record.get("image"), str):
                known[record.pop("image")] = record
    return known
