"""Where the shipped files are: demo models, prompt sets, sample images."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def resource_path(name: str) -> Path:
    """The path of a shipped file or folder, in an installed package (MedCLIPSAMLib/Resources) or a source checkout."""
    installed = _HERE / "Resources"
    return (installed if installed.is_dir() else _HERE.parent / "Resources") / name
