"""Installation: the packages that the worker needs, and the worker's log."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
from MedCLIPSAMScene import dependencies
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import MedCLIPSAMError

from .enabling import enable


class InstallationSection:
    """The last section of the panel, which is expanded if a package is missing."""

    def __init__(self, panel) -> None:
        self._panel, ui = panel, panel.ui
        self.closed = False
        ui.reportEdit.setMinimumHeight(160)
        ui.checkButton.connect("clicked(bool)", self._checkAgain)
        ui.installButton.connect("clicked(bool)", self._install)
        ui.logButton.connect("clicked(bool)", self._log)
        self.check()
        if self._missing:
            ui.installationCollapsibleButton.collapsed = False

    def enter(self) -> None:
        """Check missing packages again, because they may have been installed in another way."""
        if self._missing:
            self.check()

    def close(self) -> None:
        """Stop using the widgets, because an installation may end after the panel was removed."""
        self.closed = True

    def warning(self) -> str:
        """Return a sentence that names the packages missing for the next run; empty if all are installed."""
        return dependencies.warning(self._missing, self._panel.machine.get("WorkerCommand"))

    def whyLacking(self) -> str:
        """Return which absent packages prevent a run; empty if none do. Packages of another version may work."""
        absent = [dependency for dependency in self._missing if dependency.installed is None]
        return dependencies.warning(absent, self._panel.machine.get("WorkerCommand"))

    def check(self) -> None:
        """Show the installed packages."""
        self._missing = dependencies.missing()
        self._panel.ui.reportEdit.setPlainText(dependencies.report())
        self.update()

    def update(self) -> None:
        """Enable the installation only while nothing runs, because a worker keeps loaded files open."""
        panel = self._panel
        busy = panel.busy or panel.models.loading or any(task.running for task in panel.operations.longRuns)
        reason = dependencies.whyBusy() or (_("Wait until the current runs have ended, or stop them.") if busy else "")
        enable(panel.ui.installButton, reason or ("" if self._missing else _("All packages are installed.")))

    def _install(self) -> None:
        names = ", ".join(dependency.name for dependency in dependencies.missing())
        if not slicer.util.confirmOkCancelDisplay(
            _("These Python packages will be downloaded and installed into Slicer: {names}").format(names=names)
        ):
            return
        try:
            with dependencies.installing():
                self._checkAgain()
                self._panel.models.endWorkers()
                dependencies.install(self._progress)
        except MedCLIPSAMError as error:
            slicer.util.errorDisplay(str(error))
        finally:
            self._checkAgain()

    def _checkAgain(self) -> None:
        """Show the installed packages, after a Reload during an installation in the new panel."""
        panel: Any = getattr(slicer.modules, "MedCLIPSAMWidget", None) if self.closed else self._panel
        shown = getattr(panel, "installation", self)
        if not shown.closed:
            shown.check()
            panel.update()

    def _progress(self, text: str) -> None:
        """Show a line of pip's output. Slicer handles clicks meanwhile, such as on Reload."""
        if not self.closed:
            self._panel.ui.reportEdit.setPlainText(text)
        slicer.app.processEvents()

    def _log(self) -> None:
        self._panel.ui.reportEdit.setPlainText(
            self._panel.session.client.log or _("The worker has written nothing to its log.")
        )
