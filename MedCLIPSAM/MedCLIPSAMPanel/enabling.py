"""Enable, disable and explain widgets; a disabled one says why in its tool tip."""

from __future__ import annotations

_OWN_TOOL_TIP = "MedCLIPSAMToolTip"


def enable(widget, reason: str = "") -> None:
    """Enable a widget, or disable it for a reason that becomes its tool tip.

    Args:
        reason: why it cannot be used now; empty when it can, which brings its own tool tip back.
    """
    own = _ownToolTip(widget)
    widget.enabled = not reason
    widget.toolTip = reason or own


def sayWhyNot(label, shownReason: str, reason: str) -> str:
    """Show in a label why something cannot be done now, unless the label shows something else.

    Args:
        shownReason: what this function has shown there before.

    Returns:
        What it shows there now, for the next call.
    """
    if label.text in ("", shownReason):
        label.text = shownReason = reason
    return shownReason


def explain(widget, more: str) -> None:
    """Append to the tool tip of a widget."""
    widget.toolTip = f"{_ownToolTip(widget)}\n{more}"


def _ownToolTip(widget) -> str:
    if widget.property(_OWN_TOOL_TIP) is None:
        widget.setProperty(_OWN_TOOL_TIP, widget.toolTip)
    return str(widget.property(_OWN_TOOL_TIP))
