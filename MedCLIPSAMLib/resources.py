"""Paths of the shipped files: demo models, templates of pages, prompt sets, sample images."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """Return the path of a shipped file or folder: in the installed package, or beside it in a source checkout."""
    installed = _HERE / "Resources"
    return (installed if installed.is_dir() else _HERE.parent / "Resources") / name
