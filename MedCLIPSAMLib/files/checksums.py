"""SHA-256 checksums of model files, and their record in a downloaded or trained model folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .json_text import read_json, write_json

MANIFEST = "manifest.json"
"""File in a model folder: {file: {"sha256", "size", "url"}}; the url is empty for a trained model."""


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file in lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_recorded(folder: Path) -> dict[str, str]:
    """Read the SHA-256 checksums recorded when `folder` was made, by file name; empty without a readable record."""
    try:
        entries = read_json(folder / MANIFEST)
        return {name: str(entry["sha256"]) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def record(folder: Path, name: str, sha256: str, size: int, url: str) -> None:
    """Add or replace the entry of one file in the record of a folder."""
    try:
        entries = dict(read_json(folder / MANIFEST))
    except (OSError, ValueError, TypeError):
        entries = {}
    entries[name] = {"sha256": sha256, "size": size, "url": url}
    write_json(folder / MANIFEST, entries)
