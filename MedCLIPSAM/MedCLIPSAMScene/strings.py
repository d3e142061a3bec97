"""Translation of texts for the user; the text itself without Slicer's translator."""

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
    """Fill a translated text of one thing, or that of several or none with "{count}"."""
    return (one if count == 1 else more).format(count=count, **named)


def nodeName(text: str) -> str:
    """Return a name for a node that Slicer can save into a file of its name, and load again.

    Slicer encodes what names of files may not hold, but for "&", with which the scene cannot be loaded, and for some
    that Windows refuses.
    """
    return re.sub(r"[&<>\\]", "+", text)


__all__ = ["_", "counted", "nodeName", "translate"]
