"""Pseudo-labels: the prompts of the panel on a whole collection, written as a dataset to train on."""

from __future__ import annotations

import qt
from MedCLIPSAMScene.strings import _

from MedCLIPSAMLib.errors import Cancelled, MedCLIPSAMError

from .parameters import engineSettings

FORMATS = ("nnunet", "seg.nrrd", "nii.gz", "png", "dcm")


class ExportSection:
    """The section of pseudo-labels."""

    def __init__(self, panel) -> None:
        self._panel, ui, bindings = panel, panel.ui, panel.bindings
        self._report = ""
        ui.exportFormatBox.addItems([_("nnU-Net dataset"), ".seg.nrrd", ".nii.gz", ".png", "DICOM SEG"])
        bindings.choice(ui.exportFormatBox, FORMATS, "exportFormat")
        bindings.properties(
            (ui.exportInputsEdit, "currentPath", "currentPathChanged(QString)", "exportInputs"),
            (ui.exportOutEdit, "currentPath", "currentPathChanged(QString)", "exportOut"),
            (ui.exportScoreBox, "value", "valueChanged(double)", "exportScore"),
            (ui.exportEmptyBox, "checked", "toggled(bool)", "exportEmpty"),
        )
        ui.exportButton.connect("clicked(bool)", lambda *_arguments: self._start())
        ui.stopExportButton.connect("clicked(bool)", lambda *_arguments: self._export.cancel())
        ui.openReportButton.connect(
            "clicked(bool)", lambda *_arguments: qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._report))
        )
        self._export = panel.logic.export
        self._export.onProgress = self._progress

    def update(self) -> None:
        """Enable what can be done, and say what is lacking."""
        ui, parameters, running = self._panel.ui, self._panel.parameters, self._export.running
        lacking = (
            _("Type what to segment in every image, above.")
            if not self._prompts() and not parameters.exportInputs.lower().endswith(".csv")
            else _("Choose a folder of images, or a table.")
            if not parameters.exportInputs
            else _("Choose a folder for the dataset.")
            if not parameters.exportOut
            else ""
        )
        ui.exportButton.enabled = not running and not lacking
        ui.exportButton.toolTip = lacking or _("Segment every image by the prompts above; a stopped run goes on")
        ui.stopExportButton.enabled = running
        ui.openReportButton.enabled = bool(self._report)
        ui.exportBar.setVisible(running)

    def _prompts(self) -> list[str]:
        return [line.strip() for line in self._panel.parameters.prompts.splitlines() if line.strip()]

    def _start(self) -> None:
        parameters, ui = self._panel.parameters, self._panel.ui
        export = {
            "form": parameters.exportFormat,
            "strategy": parameters.strategy,
            "plane": parameters.plane,
            "least_score": parameters.exportScore,
            "keep_empty": parameters.exportEmpty,
        }
        ui.exportLabel.text, ui.exportBar.value = _("Loading the models..."), 0
        try:
            self._export.startExport(
                parameters.exportInputs,
                self._prompts(),
                parameters.exportOut,
                export,
                engineSettings(parameters),
                parameters.negative or None,
                self._panel.models.models(),
                finished=self._finished,
            )
        except MedCLIPSAMError as error:
            ui.exportLabel.text = str(error)
        self.update()

    def _progress(self, progress) -> None:
        if "case" not in progress:
            return
        self._panel.ui.exportBar.value = int(100 * progress["fraction"])
        self._panel.ui.exportLabel.text = _("{done} of {total}: {case}, {status}; {minutes:.0f} min left.").format(
            done=progress["done"],
            total=progress["total"],
            case=progress["case"],
            status=progress["status"],
            minutes=progress["seconds_left"] / 60,
        )

    def _finished(self, result, error) -> None:
        label = self._panel.ui.exportLabel
        if isinstance(error, Cancelled):
            label.text = _("Stopped; pressing Export again goes on with the next case.")
        elif error is not None:
            label.text = str(error)
        else:
            named = {
                "found": _("found"),
                "filtered": _("left out by the filter"),
                "empty": _("nothing found"),
                "failed": _("failed"),
            }
            counts = ", ".join(f"{result.counts[name]} {text}" for name, text in named.items() if name in result.counts)
            label.text = _("{cases} cases: {counts}. Look through the report and strike out what is wrong.").format(
                cases=result.cases, counts=counts
            )
            self._report = result.report
        self.update()
