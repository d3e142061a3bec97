"""What a command and the worker must have in common so that either gives the same result."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .. import __version__

_PREFIXES = (
    "MEDCLIPSAM_",
    "CUDA_",
    "CUBLAS_",
    "NVIDIA_",
    "OMP_",
    "MKL_",
    "KMP_",
    "TORCH",
    "PYTORCH_",
    "ITK_",
    "PYTHON",
)
_NAMES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "TZ")
SWITCH = "MEDCLIPSAM_WORKER"


def identity() -> dict[str, str]:
    """Return the program's version and the environment variables that libraries read only once, by readable names."""
    package = Path(__file__).resolve().parents[1]
    changed = max(entry.stat().st_mtime_ns for entry in package.rglob("*.py"))
    found = {
        "version": f"{__version__}, changed {changed}",
        "installation": str(package),
        "Python": f"{sys.version} {sys.prefix} {sys.getfilesystemencoding()}",
    }
    variables = {
        name: value
        for name, value in os.environ.items()
        if name != SWITCH and (name in _NAMES or name.startswith(_PREFIXES))
    }
    return found | variables


def difference(mine: dict[str, str], theirs: dict[str, str]) -> str:
    """Return the name of the first difference, or "" if there is none."""
    return next((name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name)), "")
