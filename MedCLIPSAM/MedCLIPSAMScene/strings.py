"""Translation of what the user reads; the text itself where Slicer's translator is not there."""

try:
    from slicer.i18n import tr as _
except ImportError:  # slicer-core

    def _(text: str) -> str:
        return text


__all__ = ["_"]
