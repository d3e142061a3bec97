"""Paths of the shipped files: demo models, templates of pages, prompt sets, sample images; a variable of torch's."""

from __future__ import annotations

from pathlib import Path

MPS_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
"""Environment variable with which torch runs on the CPU what it lacks for Apple's GPUs, such as, before 2.8, the
resizing of images with antialias. Programs set it; who imports this package has to."""

_HERE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """Return the path of a shipped file or folder: in the installed package, or beside it in a source checkout."""
    installed = _HERE / "Resources"
    return (installed if installed.is_dir() else _HERE.parent / "Resources") / name
