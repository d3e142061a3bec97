"""Translations like Slicer's, in which each text belongs to a context.

They imitate Slicer's Base/Python/slicer/i18n.py: `tr` takes the context from the file that calls it.
"""

from __future__ import annotations

import inspect
from pathlib import Path

translations: dict[tuple[str, str], str] = {}
"""(context, text) -> translation; empty at first."""


def translate(context: str, text: str) -> str:
    """Return the translation of a text in a context, or the text."""
    return translations.get((context, text), text)


def context_of(file: str) -> str:
    """Return the context of a file: its name, preceded by that of its folder if that is a package."""
    path = Path(file)
    package = f"{path.parent.name}." if (path.parent / "__init__.py").is_file() else ""
    return package + path.stem


def tr(text: str) -> str:
    """Return the translation of a text in the context of the calling file."""
    frame = inspect.currentframe().f_back
    return translate(context_of(inspect.getsourcefile(frame) or ""), text)
