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


__all__ = ["_", "translate"]
