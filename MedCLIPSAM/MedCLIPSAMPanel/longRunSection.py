"""The base class of the sections with long runs: start, stop and end, what is missing, and interrupted runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError

from .enabling import enable, sayWhyNot


class LongRunSection:
    """A section that starts and stops runs, one at a time.

    From its start to its end, a run's target is kept in the settings of the machine. If Slicer exits during the run,
    the target stays there for the next session.

    Args:
        operation: its `task` is the `LongRun`.
        label, bar: show the progress of a run, and how it ended.
        setting: name of the setting.
        stopped: the message after a run was stopped.

    Attributes:
        unfinished: target of the run that was interrupted by Slicer's exit; empty if there was none.
    """

    def __init__(self, panel, operation, label, bar, setting: str, stopped: str) -> None:
        self._panel, self._paths, self._operation = panel, panel.paths, operation
        self._label, self._bar, self._setting, self._stopped = label, bar, setting, stopped
        self._shownReason = ""
        self._notes: list[str] = []
        operation.task.onProgress, operation.task.onNotice = self._progress, self._note
        self.unfinished = panel.machine.get(setting)

    def _enable(self, startButton, stopButton, lacking: str, notRunning: str) -> None:
        """Enable the possible actions, and show what is missing."""
        enable(startButton, lacking)
        self._shownReason = sayWhyNot(self._label, self._shownReason, lacking)
        running = self._operation.task.running
        enable(stopButton, "" if running else notRunning)
        self._bar.setVisible(running)

    def _begin(self, what: str, text: str, start: Callable[[], None]) -> None:
        """Start a run, or show why it is refused."""
        self._panel.machine.set(self._setting, what)
        self._notes.clear()
        self._label.text, self._bar.value = text, 0
        try:
            start()
        except MedCLIPSAMError as error:
            self._panel.machine.set(self._setting, "")
            self._label.text = self._panel.models.explain(error)
        self._panel.update()

    def _stop(self) -> None:
        self._panel.machine.set(self._setting, "")
        self._operation.task.cancel()

    def _finished(self, result, error: MedCLIPSAMError | None) -> None:
        """Show how a run ended. A run whose worker ends with Slicer counts as cancelled, and stays unfinished."""
        if isinstance(error, Cancelled):
            self._label.text = self._stopped
        else:
            self._panel.machine.set(self._setting, "")
            if error is not None:
                self._label.text = self._panel.models.explain(error)
            else:
                self._show(result)
        self._panel.update()

    def _say(self, text: str) -> None:
        """Show a line, and below it the worker's notes on the run."""
        self._label.text = "\n".join((text, *self._notes))

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._label.text += f"\n{text}"

    def _progress(self, progress: Mapping[str, Any]) -> None:
        """Show how far a run is."""
        raise NotImplementedError

    def _show(self, result) -> None:
        """Show the result of a run."""
        raise NotImplementedError
