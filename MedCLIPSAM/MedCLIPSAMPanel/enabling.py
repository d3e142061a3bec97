"""Enable, disable and explain widgets; the tool tip of a disabled widget says why."""

from __future__ import annotations

_OWN_TOOL_TIP = "MedCLIPSAMToolTip"


def enable(widget, reason: str = "") -> None:
    """Enable a widget, or disable it for a reason that becomes its tool tip.

    Args:
        reason: why it cannot be used now; empty if it can, which restores its own tool tip.
    """
    own = _ownToolTip(widget)
    widget.enabled = not reason
    widget.toolTip = reason or own


def sayWhyNot(label, shownReason: str, reason: str) -> str:
    """Show in a label why something cannot be done now, unless the label shows another text.

    Args:
        shownReason: the text that the previous call returned.

    Returns:
        The reason that was shown last, for the next call.
    """
    if label.text in ("", shownReason):
        label.text = shownReason = reason
    return shownReason


def explain(widget, more: str) -> None:
    """Append a line to a widget's own tool tip."""
    widget.toolTip = f"{_ownToolTip(widget)}\n{more}"


def _ownToolTip(widget) -> str:
    if widget.property(_OWN_TOOL_TIP) is None:
        widget.setProperty(_OWN_TOOL_TIP, widget.toolTip)
    return str(widget.property(_OWN_TOOL_TIP))
