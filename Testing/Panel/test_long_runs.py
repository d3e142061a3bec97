"""Exports and fine-tuning: how they end, what they leave behind, and what happens if Slicer is closed meanwhile."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import standin
from heads import add_volume
from helpers.scene import PROMPT
from test_workers import begin_export, finished


def test_the_report_is_that_of_the_last_export_and_where_it_lies_is_said(panel, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    begin_export(panel, tmp_path, 1)
    standin.pump(lambda: finished(export), 60)
    assert ui.openReportButton.enabled
    report = tmp_path / "Dataset001_Heads" / "report.html"
    report.rename(tmp_path / "elsewhere.html")  # as where the worker runs on another machine
    ui.openReportButton.click()
    assert f"'{report}' is on the worker's machine" in ui.exportLabel.text
    ui.exportInputsEdit.currentPath = str(tmp_path / "nothing")
    ui.exportButton.click()
    standin.pump(lambda: finished(export), 60)
    assert "There is no" in ui.exportLabel.text and not ui.openReportButton.enabled


def test_an_export_refuses_a_prompt_that_is_given_twice(panel, tmp_path) -> None:
    begin_export(panel, tmp_path, 1)
    standin.pump(lambda: finished(panel.operations.export.task), 60)
    panel.ui.promptEdit.setPlainText(f"{PROMPT}\n{PROMPT.upper()}")
    panel.ui.exportButton.click()
    assert "The same prompt was given twice" in panel.ui.exportLabel.text
    assert finished(panel.operations.export.task)


def test_a_run_that_ended_with_slicer_is_said_at_the_next_start(panel, fresh, tmp_path) -> None:
    first = fresh.createNewWidgetRepresentation().self()
    begin_export(first, tmp_path, 4)
    standin.pump(lambda: " of 4:" in first.ui.exportLabel.text, 60)
    first.cleanup()
    second = fresh.createNewWidgetRepresentation().self()
    try:
        out = tmp_path / "Dataset001_Heads"
        assert f"An earlier export into '{out}' may not have finished" in second.ui.exportLabel.text
        assert second.ui.fineTuneLabel.text.startswith("Choose")
        assert second.ui.exportButton.enabled
        second.ui.exportButton.click()
        standin.pump(lambda: finished(second.operations.export.task), 60)
        assert "4 in all" in second.ui.exportLabel.text
    finally:
        second.cleanup()
    third = fresh.createNewWidgetRepresentation().self()
    try:
        assert "may not have finished" not in third.ui.exportLabel.text
        begin_export(third, tmp_path, 6)
        third.ui.stopExportButton.click()
        standin.pump(lambda: finished(third.operations.export.task), 60)
        assert "the worker may still finish the current case" in third.ui.exportLabel.text
    finally:
        third.cleanup()
    fourth = fresh.createNewWidgetRepresentation().self()
    try:
        assert "may not have finished" not in fourth.ui.exportLabel.text, "the user has stopped it"
    finally:
        fourth.cleanup()


def test_slicer_asks_before_it_is_closed_while_something_runs(panel, tmp_path, monkeypatch) -> None:
    window, export = standin.unwrap(slicer.util.mainWindow()), panel.operations.export.task
    window.show()
    assert window.close() and not standin.messages, "nothing runs"
    begin_export(panel, tmp_path, 3)
    window.show()
    standin.answers["confirm"] = False
    assert not window.close() and window.isVisible() and export.running
    ((kind, text),) = standin.messages
    assert kind == "confirm" and "not finished: an export." in text
    with monkeypatch.context() as patch:  # util.py: the question then compares True with qt.QMessageBox.Ok
        patch.setattr(standin.unwrap(slicer.app), "testingEnabled", lambda: True)
        assert window.close() and len(standin.messages) == 1
    window.show()
    segment = panel.ui.segmentButton
    panel.ui.inputVolumeSelector.setCurrentNode(add_volume(np.zeros((16, 16), np.int16)))
    segment.click()
    assert panel.busy and not window.close()
    assert "not finished: a segmentation, an export." in standin.messages[-1][1]
    standin.answers["confirm"] = True
    assert window.close() and window.close(), "macOS closes twice"
    assert len(standin.messages) == 3
    panel.ui.cancelButton.click()
    standin.pump(lambda: finished(export), 60)
