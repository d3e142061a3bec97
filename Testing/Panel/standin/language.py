"""Translations, as Slicer's own: a text belongs to a context.

As in Slicer's Base/Python/slicer/i18n.py: `tr` takes the context from the file that calls it.
"""

from __future__ import annotations

import inspect
from pathlib import Path

translations: dict[tuple[str, str], str] = {}
"""(context, text) -> translation; none at first."""


def translate(context: str, text: str) -> str:
    """The translation of a text in a context, or the text."""
    return translations.get((context, text), text)


def context_of(file: str) -> str:
    """The name of a file, after that of its folder when that is a package."""
    path = Path(file)
    package = f"{path.parent.name}." if (path.parent / "__init__.py").is_file() else ""
    return package + path.stem


def tr(text: str) -> str:
    """The translation of a text in the context of the file that calls this."""
    frame = inspect.currentframe().f_back
    return translate(context_of(inspect.getsourcefile(frame) or ""), text)
