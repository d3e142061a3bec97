"""A long run that ended with Slicer is said at the next start: nobody was there to see it end."""

from __future__ import annotations

from MedCLIPSAMScene.machineSettings import MachineSettings

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError


class UnfinishedRun:
    """What a run works on, in the settings of the machine from its start to its end.

    Args:
        name: of the setting.
    """

    def __init__(self, machine: MachineSettings, name: str) -> None:
        self._machine, self._name = machine, name
        self.what = machine.get(name)
        """What a run worked on that ended with Slicer; empty where none did."""

    def begin(self, what: str) -> None:
        """Store that a run has begun."""
        self._machine.set(self._name, what)

    def end(self) -> None:
        """Forget the run, which has ended or was stopped."""
        self._machine.set(self._name, "")

    def ended(self, error: MedCLIPSAMError | None) -> None:
        """Forget a run that has ended, unless its worker was ended with Slicer."""
        if not isinstance(error, Cancelled):
            self.end()
