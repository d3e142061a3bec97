"""What a remedy tells the user to run."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path


def follow(remedy: str, folder: Path) -> None:
    """Run the Python that a remedy gives as a command line, in a folder."""
    (script,) = re.findall(r'python -c "([^"]*)"', remedy)
    with contextlib.chdir(folder):
        exec(script, {})
