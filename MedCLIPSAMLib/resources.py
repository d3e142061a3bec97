"""Paths of the shipped files (demo models, page templates, prompt sets, sample images), and a variable of torch."""

from __future__ import annotations

from pathlib import Path

MPS_FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
"""Environment variable that makes torch run on the CPU what it does not support on Apple's GPUs, such as resizing with
antialiasing before torch 2.8. The programs of this package set it; other programs that import it have to do so."""

_HERE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """Return the path of a shipped file or folder, in the installed package or beside it in a source checkout."""
    installed = _HERE / "Resources"
    return (installed if installed.is_dir() else _HERE.parent / "Resources") / name
