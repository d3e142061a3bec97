"""Enable and disable widgets; a disabled one says why in its tool tip."""

from __future__ import annotations

_OWN_TOOL_TIP = "MedCLIPSAMToolTip"


def enable(widget, reason: str = "") -> None:
    """Enable a widget, or disable it for a reason that becomes its tool tip.

    Args:
        reason: why it cannot be used now; empty when it can, which brings its own tool tip back.
    """
    if widget.property(_OWN_TOOL_TIP) is None:
        widget.setProperty(_OWN_TOOL_TIP, widget.toolTip)
    widget.enabled = not reason
    widget.toolTip = reason or str(widget.property(_OWN_TOOL_TIP))
