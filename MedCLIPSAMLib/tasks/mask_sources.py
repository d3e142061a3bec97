"""Which files the masks of a folder were made from, so that an image exchanged under its name is noticed.

Each image is a line of its own, so that a folder of thousands is not written anew for each of them.
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
    """Add the files of an image.

    Args:
        image: its name in the folder.
        source: see `export.known.Sources`.

    Raises:
        OutputError: the line cannot be written.
    """
    try:
        with open(folder / SOURCES, "a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"image": image, **source}))  # ends a line that a killed run left unfinished
    except OSError as error:
        raise OutputError(
            f"'{folder / SOURCES}' cannot be written: {error.strerror or error}.",
            "Check the permissions and the free space, and give the same command; it continues with the next image.",
        ) from error


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the files of each image, the last line of each; lines that are no records are left out."""
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
