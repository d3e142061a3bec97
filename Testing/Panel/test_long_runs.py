"""Exports and fine-tuning: how they end, what is left of them, and with Slicer closed meanwhile."""

from __future__ import annotations

import standin
from heads import PROMPT
from test_workers import begin_export, finished


def test_the_report_is_that_of_the_last_export_and_where_it_lies_is_said(panel, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    begin_export(panel, tmp_path, 1)
    standin.pump(lambda: finished(export), 60)
    assert ui.openReportButton.enabled
    report = tmp_path / "Dataset001_Heads" / "report.html"
    report.rename(tmp_path / "elsewhere.html")  # as where the worker runs on another machine
    ui.openReportButton.click()
    assert f"no '{report}': it is on that of the worker" in ui.exportLabel.text
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
        assert f"The export into '{out}' was begun before and not seen to end" in second.ui.exportLabel.text
        assert second.ui.fineTuneLabel.text.startswith("Choose")
        assert second.ui.exportButton.enabled
        second.ui.exportButton.click()
        standin.pump(lambda: finished(second.operations.export.task), 60)
        assert "4 in all" in second.ui.exportLabel.text
    finally:
        second.cleanup()
    third = fresh.createNewWidgetRepresentation().self()
    try:
        assert "had not ended" not in third.ui.exportLabel.text
        begin_export(third, tmp_path, 6)
        third.ui.stopExportButton.click()
        standin.pump(lambda: finished(third.operations.export.task), 60)
        assert "the worker may still finish the case under way" in third.ui.exportLabel.text
    finally:
        third.cleanup()
    fourth = fresh.createNewWidgetRepresentation().self()
    try:
        assert "had not ended" not in fourth.ui.exportLabel.text, "the user has stopped it"
    finally:
        fourth.cleanup()
