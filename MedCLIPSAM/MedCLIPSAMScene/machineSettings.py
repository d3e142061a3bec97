"""Settings of this machine and user in Slicer's settings: device, folders, worker command, history of prompts."""

from __future__ import annotations

import qt


class MachineSettings:
    """Texts under the key MedCLIPSAM in the application's settings."""

    MAX_HISTORY = 30

    def __init__(self) -> None:
        self._settings = qt.QSettings()

    def get(self, name: str, default: str = "") -> str:
        """Return a stored text."""
        return str(self._settings.value(f"MedCLIPSAM/{name}", default) or default)

    def set(self, name: str, value: str) -> None:
        """Store a text."""
        self._settings.setValue(f"MedCLIPSAM/{name}", value)

    def history(self) -> list[str]:
        """Return the prompts of earlier runs, the latest first; several prompts of one run are joined by " | "."""
        return [line for line in self.get("History").split("\n") if line]

    def remember(self, prompts: list[str]) -> None:
        """Put prompts at the top of the history."""
        line = " | ".join(prompts)
        others = [other for other in self.history() if other != line]
        self.set("History", "\n".join([line, *others][: self.MAX_HISTORY]))
