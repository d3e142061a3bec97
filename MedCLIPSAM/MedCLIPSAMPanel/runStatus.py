"""A label and a progress bar that show how far a run is, and how it ended."""

from __future__ import annotations

import time

import qt
from MedCLIPSAMScene.strings import _


class RunStatus:
    """The status display of successive runs.

    Args:
        label: shows the stage and the elapsed time, and how the run ended.
        bar: a QProgressBar of 1000 steps.
    """

    def __init__(self, label, bar) -> None:
        self._label, self._bar = label, bar
        self._started, self._stage = 0.0, ""
        self._clock = qt.QTimer()
        self._clock.setInterval(200)
        self._clock.connect("timeout()", self._tick)

    def begin(self) -> None:
        """Show that a run has begun."""
        self._started, self._stage = time.monotonic(), _("Starting")
        self._bar.value = 0
        self._clock.start()
        self._tick()

    def progress(self, fraction: float, stage: str) -> None:
        """Show how far a run is."""
        self._bar.value = int(1000 * fraction)
        self._stage = stage
        self._tick()

    def end(self, text: str) -> None:
        """Show how a run ended."""
        self._clock.stop()
        self._label.text = text

    def close(self) -> None:
        """Stop the clock before the widgets are removed."""
        self._clock.stop()

    def _tick(self) -> None:
        self._label.text = _("{stage}, {seconds:.0f} s").format(
            stage=self._stage, seconds=time.monotonic() - self._started
        )
