"""Running the command that an error's remedy gives."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def follow(remedy: str, folder: Path) -> None:
    """Run in a folder the Python command line that a remedy contains."""
    (script,) = re.findall(r'python -c "([^"]*)"', remedy)
    with contextlib.chdir(folder):
        exec(script, {})
