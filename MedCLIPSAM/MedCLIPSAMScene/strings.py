"""Translation of texts for the user; without Slicer's translator, texts are returned as they are."""

import re

try:
    from slicer.i18n import tr as _
    from slicer.i18n import translate
except ImportError:  # slicer-core

    def _(text: str) -> str:
        return text

    def translate(_context: str, text: str) -> str:
        """Return the text as it is."""
        return text


def counted(count: int, one: str, more: str, **named: object) -> str:
    """Fill the translated text for one thing, or the text with "{count}" for several things or none."""
    return (one if count == 1 else more).format(count=count, **named)


def nodeName(text: str) -> str:
    """Return a name for a node with which Slicer can save the node's file and load it again.

    Slicer encodes characters that are invalid in file names, except "&", with which the scene cannot be loaded, and
    some that Windows refuses.
    """
    return re.sub(r"[&<>\\]", "+", text)


__all__ = ["_", "counted", "nodeName", "translate"]
