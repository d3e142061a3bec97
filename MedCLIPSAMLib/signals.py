"""The signals that end a command cleanly: from Ctrl+C, a batch system or service manager, or a closed terminal."""

from __future__ import annotations

import signal

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""Windows has no SIGHUP."""


def ending_signals() -> list[signal.Signals]:
    """List the signals that end this process, without those it ignores, such as SIGHUP under `nohup`."""
    known = [signal.Signals[name] for name in _NAMES if hasattr(signal, name)]
    return [number for number in known if signal.getsignal(number) != signal.SIG_IGN]
