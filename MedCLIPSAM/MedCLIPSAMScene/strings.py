"""Translation of texts for the user; the text itself without Slicer's translator."""

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
    """Return a name for a node that gets a file of its name: with "&" Slicer cannot load a scene that has the file."""
    return text.replace("&", "+")


__all__ = ["_", "counted", "nodeName", "translate"]
