"""The workers behind the panel: by another command, and before packages are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import standin
from heads import PROMPT, add_volume, segment

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png


def begin_export(panel, folder: Path, count: int, out: str = "Dataset001_Heads") -> None:
    """Export some images, and wait for nothing."""
    ui = panel.ui
    (folder / "in").mkdir(exist_ok=True)
    for number in range(count):
        image = make_phantom("validation", number, "MR", 1).image
        write_png(folder / "in" / f"{number}.png", np.repeat(image[..., None], 3, 2))
    ui.promptEdit.setPlainText(PROMPT)
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(folder / "in"), str(folder / out)
    ui.exportButton.click()


def give_command(panel, command: str) -> None:
    panel.ui.remoteEdit.text = command
    standin.unwrap(panel.ui.remoteEdit).editingFinished.emit()


@pytest.fixture
def command(panel):
    """Gives another "Worker command"; it is cleared at the end."""
    yield lambda text: give_command(panel, text)
    give_command(panel, "")


def test_an_export_runs_by_the_present_command_and_one_that_runs_goes_on(panel, command, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    begin_export(panel, tmp_path, 3)
    standin.pump(lambda: " of 3:" in ui.exportLabel.text, 60)
    command("/nowhere/ssh gpuhost worker")
    assert export.running and "goes on where it was started" in ui.modelsLabel.text
    standin.pump(lambda: not export.running, 60)
    assert "3 in all" in ui.exportLabel.text
    begin_export(panel, tmp_path, 3, "Dataset002_Heads")
    standin.pump(lambda: not export.running, 60)
    assert "'/nowhere/ssh' cannot be started" in ui.exportLabel.text
    assert not (tmp_path / "Dataset002_Heads").exists()
    command("")
    assert "goes on" not in ui.modelsLabel.text
    begin_export(panel, tmp_path, 3, "Dataset002_Heads")
    standin.pump(lambda: not export.running, 60)
    assert "3 in all" in ui.exportLabel.text


def test_packages_are_installed_while_no_worker_uses_them(panel, phantom, tmp_path, monkeypatch) -> None:
    ui, dependencies = panel.ui, type(panel.installation).check.__globals__["dependencies"]
    torch = next(dependency for dependency in dependencies.check() if dependency.name == "torch")
    monkeypatch.setattr(dependencies, "missing", lambda: [torch])
    ui.checkButton.click()
    assert ui.installButton.enabled
    begin_export(panel, tmp_path, 4)
    assert not ui.installButton.enabled and "Wait for the end" in ui.installButton.toolTip
    ui.stopExportButton.click()
    standin.pump(lambda: not panel.operations.export.task.running, 60)
    assert ui.installButton.enabled
    segment(panel, add_volume(phantom.image))
    ui.segmentButton.click()
    assert panel.busy and not ui.installButton.enabled
    ui.cancelButton.click()
    assert ui.installButton.enabled
    clients = panel.session.client, panel.operations.export.task.client
    assert all(client.running for client in clients)
    seen: list[bool] = []
    monkeypatch.setattr(dependencies, "install", lambda progress: seen.extend(client.running for client in clients))
    ui.installButton.click()
    assert seen == [False, False]
    monkeypatch.undo()
    ui.checkButton.click()
