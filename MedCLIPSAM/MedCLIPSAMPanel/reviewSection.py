"""Active review: correct the least sure cases of a trained network, and save them as trusted labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import qt
import slicer
import slicer.util
from MedCLIPSAMScene import overlay
from MedCLIPSAMScene.reviewOperation import OpenCase, ReviewCase
from MedCLIPSAMScene.strings import _, counted

from MedCLIPSAMLib.errors import MedCLIPSAMError
from MedCLIPSAMLib.nnunet.ranking import dataset_of, is_beside

from .enabling import enable, sayWhyNot


class ReviewSection:
    """The section of review."""

    def __init__(self, panel) -> None:
        self._panel, self._paths, ui = panel, panel.paths, panel.ui
        self._shownReason = ""
        self._review = panel.operations.review
        self._cases: list[ReviewCase] = []
        self._listed = ""
        self._named: Path | None = None
        self._agreed: set[tuple[Path, Path]] = set()
        self._opened: OpenCase | None = None
        self._shownState: tuple | None = None
        self._inScene: dict[tuple[Path, str], tuple[OpenCase, dict[str, np.ndarray]]] = {}  # with the masks as saved
        table = ui.reviewTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([_("Case"), _("Uncertainty"), _("State")])
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        table.setMinimumHeight(170)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self.update)
        for button, action in (
            (ui.listReviewButton, self._list),
            (ui.openReviewButton, self._openChosen),
            (ui.trustButton, self._trust),
            (ui.nextReviewButton, self._openNext),
        ):
            button.connect("clicked(bool)", lambda *_arguments, action=action: self._attempt(action))

    def update(self) -> None:
        """Enable the possible actions, and show or hide the uncertainty map."""
        ui, parameters = self._panel.ui, self._panel.parameters
        partial = self._paths.whyPartial("reviewFolder", "reviewDataset")
        reason = partial if self._paths.get("reviewFolder") else _("Choose the folder of predictions first.")
        enable(ui.listReviewButton, reason)
        self._shownReason = sayWhyNot(ui.reviewLabel, self._shownReason, reason)
        ui.reviewTargetLabel.text = self._describeTarget()
        ui.reviewTargetLabel.setVisible(bool(ui.reviewTargetLabel.text))
        enable(ui.openReviewButton, "" if self._chosen() is not None else _("Choose a case in the table."))
        enable(ui.trustButton, "" if self._opened is not None else _("Open a case first."))
        enable(ui.nextReviewButton, "" if self._next() is not None else _("No case is left; list the predictions."))
        volume = self._opened.volume if self._opened is not None else None
        covered = volume is not None and parameters.inputVolume is volume and self._panel.results.covers
        enable(ui.uncertaintyBox, _("A map from Result is shown instead: hide it first.") if covered else "")
        if volume is not None and slicer.mrmlScene.IsNodePresent(volume):
            # Only if something has changed: otherwise the user chooses the foreground of the views.
            unsure = overlay.mapShown(volume, overlay.UNCERTAINTY)
            shown = parameters.review.showUncertainty and not covered
            state = volume.GetID(), parameters.inputVolume is volume, unsure is not None, shown
            if state != self._shownState:
                self._shownState = state
                overlay.showMap(volume, overlay.UNCERTAINTY, shown)

    def forget(self) -> None:
        """Clear the opened cases, which are removed with a closed scene."""
        self._inScene.clear()
        self._opened = self._shownState = None

    def _describeTarget(self) -> str:
        """Return a sentence that names the dataset for corrections; empty before predictions are listed."""
        folder, target = self._paths.local("reviewFolder"), self._target()
        if self._opened is None and (not folder or folder != self._listed):
            return ""
        if target is None:
            return _("The predictions name no dataset: choose the one that corrections go into.")
        return _("Corrections go into '{dataset}'.").format(dataset=target)

    def _target(self) -> Path | None:
        """Return the dataset in the field, else that of the opened case, else the one that the predictions name."""
        if chosen := self._paths.local("reviewDataset"):
            return Path(chosen)
        return self._opened.dataset if self._opened else self._named

    def _attempt(self, action) -> None:
        try:
            action()
        except MedCLIPSAMError as error:
            self._panel.ui.reviewLabel.text = str(error)
        self.update()

    def _list(self) -> None:
        folder = self._paths.local("reviewFolder")
        self._named = dataset_of(Path(folder))
        self._cases = self._review.cases(folder, self._paths.local("reviewDataset"))
        self._listed = folder
        self._fill()
        self._panel.ui.reviewLabel.text = counted(
            len(self._cases),
            _("One case, {trusted} trusted."),
            _("{count} cases, {trusted} of them trusted. The least sure come first."),
            trusted=sum(case.trusted for case in self._cases),
        )

    def _fill(self) -> None:
        table = self._panel.ui.reviewTable
        table.setRowCount(len(self._cases))
        for row, case in enumerate(self._cases):
            state = _("trusted") if case.trusted else case.problem
            sure = "" if case.uncertainty is None else f"{case.uncertainty:.3f}"
            for column, text in enumerate((case.case, sure, state)):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.resizeColumnsToContents()

    def _chosen(self) -> str | None:
        row = self._panel.ui.reviewTable.currentRow()
        return self._cases[row].case if 0 <= row < len(self._cases) else None

    def _next(self) -> str | None:
        """Return the least sure case that is neither trusted nor open, or None."""
        opened = self._opened.case if self._opened else None
        return next((case.case for case in self._cases if not case.trusted and case.case != opened), None)

    def _openChosen(self) -> None:
        case = self._chosen()
        if case is not None:
            self._open(case)

    def _openNext(self) -> None:
        names = [case.case for case in self._cases]
        case = self._next()
        if case is not None:
            self._panel.ui.reviewTable.setCurrentCell(names.index(case), 0)
            self._open(case)

    def _open(self, case: str) -> None:
        panel, parameters = self._panel, self._panel.parameters
        opened = self._leftInScene(case)
        if opened is None:
            opened = self._review.open(self._listed, case, self._paths.local("reviewDataset"))
            self._inScene[opened.predictions, case] = opened, self._review.masks(opened)
        kept = self._leave() if opened is not self._opened else ""
        self._opened, self._shownState = opened, None
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            composite.SetBackgroundVolumeID(opened.volume.GetID())
        if slicer.app.layoutManager() is not None:  # None without a main window
            slicer.util.resetSliceViews()
        place = self._review.mostUncertain(opened.volume)
        if place is not None:
            for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
                node.JumpSliceByCentering(*place)
        parameters.inputVolume, parameters.segmentation = opened.volume, opened.segmentation
        panel.ui.reviewLabel.text = kept or _(
            "'{case}': correct the mask with the tools above or the Segment Editor, then press Trust. The network is "
            "unsure where the map is bright."
        ).format(case=case)

    def _leftInScene(self, case: str) -> OpenCase | None:
        """Return a case that is still in the scene; None if it is not, or was moved by hand."""
        present = slicer.mrmlScene.IsNodePresent
        self._inScene = {key: one for key, one in self._inScene.items() if present(one[0].segmentation)}
        opened, _masks = self._inScene.get((Path(self._listed), case), (None, {}))
        try:
            if opened is not None:
                self._review.requireInPlace(opened)
        except MedCLIPSAMError:
            return None
        return opened

    def _leave(self) -> str:
        """Remove the opened case from the scene. If it has unsaved changes, keep it and return a message."""
        opened, self._opened = self._opened, None
        if opened is None or not slicer.mrmlScene.IsNodePresent(opened.segmentation):  # removed by hand
            return ""
        known, before = self._inScene[opened.predictions, opened.case]
        try:
            now = self._review.masks(opened)
        except MedCLIPSAMError:  # the masks cannot be compared, so they count as changed
            now = {}
        if now.keys() == before.keys() and all((now[name] == before[name]).all() for name in now):
            del self._inScene[opened.predictions, opened.case]
            self._review.close(opened)
            return ""
        overlay.showMap(opened.volume, overlay.UNCERTAINTY, False)
        kept = _("The correction of '{case}' was not saved; it is still in the scene.").format(case=opened.case)
        return f"{kept} {_('Open returns to it.')}" if known is opened else kept

    def _trust(self) -> None:
        opened = self._opened
        if opened is None:
            return
        target = self._target() or opened.dataset  # with a case open it is never None
        if not self._mayWriteInto(target, opened.predictions):
            self._panel.ui.reviewLabel.text = _("Nothing was written. Choose another dataset above, then press Trust.")
            return
        count = self._review.save(replace(opened, dataset=target))
        self._inScene[opened.predictions, opened.case] = opened, self._review.masks(opened)
        self._cases = self._review.cases(str(opened.predictions), str(target))
        self._fill()
        self._panel.ui.reviewLabel.text = _(
            "'{case}' is a trusted label now, one of {count}. Train the next round on the dataset, into a new folder."
        ).format(case=opened.case, count=count)

    def _mayWriteInto(self, dataset: Path, predictions: Path) -> bool:
        """Ask once whether to write into a dataset that is not next to the predictions.

        The predictions may come from another person, and may name any dataset on this machine.
        """
        if is_beside(dataset, predictions) or (predictions, dataset) in self._agreed:
            return True
        agreed = slicer.util.confirmOkCancelDisplay(
            _(
                "Corrections of the predictions in '{folder}' go into a dataset that is not next to them: '{dataset}'. "
                "Write into it?"
            ).format(folder=predictions, dataset=dataset)
        )
        if agreed:
            self._agreed.add((predictions, dataset))
        return agreed
