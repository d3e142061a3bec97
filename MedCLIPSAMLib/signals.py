"""The signals that end a command in order: Ctrl+C, a batch system's or service manager's, a closed terminal's."""

from __future__ import annotations

import signal

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""Windows has no SIGHUP."""


def ending_signals() -> list[signal.Signals]:
    """List the signals that end this process; one that it ignores is none of them, as SIGHUP under `nohup`."""
    known = [signal.Signals[name] for name in _NAMES if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]
