"""Pseudo-labels: segment a whole collection with the prompts of the panel, and write a dataset to train on."""

from __future__ import annotations

from pathlib import Path

import qt
from MedCLIPSAMScene import dependencies
from MedCLIPSAMScene.strings import _

from .enabling import enable
from .longRunSection import LongRunSection
from .parameters import engineSettings, promptLines


class ExportSection(LongRunSection):
    """The section of pseudo-labels."""

    def __init__(self, panel) -> None:
        ui = panel.ui
        stopped = _(
            "Stopped; the worker may still finish the current case. Press Export again to continue with the next one."
        )
        super().__init__(panel, panel.operations.export, ui.exportLabel, ui.exportBar, "UnfinishedExport", stopped)
        self._report = ""
        if self.unfinished:
            ui.exportLabel.text = _(
                "An earlier export into '{out}' may not have finished: press Export to resume it with the same prompts "
                "and settings."
            ).format(out=self.unfinished)
        ui.exportFolderButton.connect("clicked(bool)", self._browseFolder)
        ui.exportTableButton.connect("clicked(bool)", self._browseTable)
        ui.exportKeyButton.connect("clicked(bool)", self._browseKey)
        ui.exportButton.connect("clicked(bool)", self._start)
        ui.stopExportButton.connect("clicked(bool)", self._stop)
        ui.openReportButton.connect("clicked(bool)", self._openReport)

    def update(self) -> None:
        """Enable the possible actions, and show what is missing."""
        ui, running = self._panel.ui, self._operation.task.running
        named = "" if self._panel.parameters.export.anonymous else _("Cases are named after their images.")
        for widget in (ui.exportKeyEdit, ui.exportKeyButton):
            enable(widget, named)
        reason = _("An export is running.") if running else dependencies.whyBusy() or self._lacking()
        self._enable(ui.exportButton, ui.stopExportButton, reason, _("No export is running."))
        enable(ui.openReportButton, "" if self._report else _("Export first."))

    def _lacking(self) -> str:
        """Return what is missing for an export; empty if nothing is."""
        if lacking := self._panel.installation.whyLacking():
            return lacking
        parameters, anonymous = self._panel.parameters, self._panel.parameters.export.anonymous
        inputs, out, key = map(self._paths.get, ("exportInputs", "exportOut", "exportKey"))
        if not promptLines(parameters.prompts) and not inputs.lower().endswith((".csv", ".tsv")):
            return _("Type what to segment in every image, above.")
        if not inputs:
            return _("Choose a folder of images, or a table.")
        if not out:
            return _("Choose a folder for the dataset.")
        if anonymous and not key:
            return _("Choose a file for the key, outside the dataset.")
        return self._paths.whyPartial("exportInputs", "exportOut", *(["exportKey"] if anonymous else []))

    def _openReport(self) -> None:
        path = self._report
        if not Path(path).is_file():
            self._say(_("'{path}' is on the worker's machine, not on this one: open it there.").format(path=path))
        elif not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path)):
            self._say(_("No program on this machine can open '{path}'.").format(path=path))

    def _browseFolder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self._panel.parent, _("Folder of images"), self._paths.local("exportInputs")
        )
        if folder:
            self._paths.set("exportInputs", folder)

    def _browseTable(self) -> None:
        table = qt.QFileDialog.getOpenFileName(
            self._panel.parent,
            _("Table of images and prompts"),
            self._paths.local("exportInputs"),
            _("Tables (*.csv *.tsv)"),
        )
        if table:
            self._paths.set("exportInputs", table)

    def _browseKey(self) -> None:
        # An existing key is continued, so a question whether to replace it would mislead.
        key = qt.QFileDialog.getSaveFileName(
            self._panel.parent,
            _("Key of cases, new or of an earlier export"),
            self._paths.local("exportKey"),
            _("Tables (*.csv)"),
            None,
            qt.QFileDialog.DontConfirmOverwrite,
        )
        if key:
            self._paths.set("exportKey", key)

    def _start(self) -> None:
        parameters = self._panel.parameters
        export = parameters.export
        changes = {
            "form": str(export.format),
            "strategy": str(parameters.strategy),
            "plane": str(parameters.plane),
            "min_score": export.minScore,
            "min_expected_dsc": export.minExpectedDsc,
            "keep_empty": export.keepEmpty,
        }
        self._report = ""
        start = lambda: self._operation.start(
            self._paths.get("exportInputs"),
            promptLines(parameters.prompts),
            self._paths.get("exportOut"),
            changes,
            engineSettings(parameters.method),
            parameters.negative.strip() or None,
            self._panel.models.models(),
            retry=True,
            anonymous=self._paths.get("exportKey") if export.anonymous else None,
            finished=self._finished,
        )
        self._begin(self._paths.get("exportOut"), _("Loading the models..."), start)

    def _progress(self, progress) -> None:
        if "case" not in progress:
            return
        self._bar.value = int(100 * progress["fraction"])
        self._say(
            _("{done} of {total}: {case}, {status}; {minutes:.0f} min left.").format(
                done=progress["done"],
                total=progress["total"],
                case=progress["case"],
                status=progress["status"],
                minutes=progress["seconds_left"] / 60,
            )
        )

    def _show(self, result) -> None:
        names = {
            "found": _("found"),
            "filtered": _("left out by the filter"),
            "empty": _("nothing found"),
            "failed": _("failed (the report says why; Export tries them again)"),
        }
        counts = ", ".join(f"{result.counts[name]} {text}" for name, text in names.items() if name in result.counts)
        self._say(
            _("{cases} in all: {counts}. Look through the report and strike out what is wrong.").format(
                cases=result.cases, counts=counts
            )
        )
        self._report = result.report
