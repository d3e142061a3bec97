"""The workers of the panel: started with another command, and ended before packages are installed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import standin
from heads import add_volume, segment
from helpers.scene import PROMPT

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png
from MedCLIPSAMLib.worker.subprocess_transport import SubprocessTransport


def begin_export(panel, folder: Path, count: int, out: str = "Dataset001_Heads") -> None:
    """Start an export of some images without waiting for it."""
    ui = panel.ui
    (folder / "in").mkdir(exist_ok=True)
    for number in range(count):
        image = make_phantom("validation", number, "MR", 1).image
        write_png(folder / "in" / f"{number}.png", np.repeat(image[..., None], 3, 2))
    ui.promptEdit.setPlainText(PROMPT)
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(folder / "in"), str(folder / out)
    ui.exportButton.click()


def dependencies_of(panel):
    """Return the module of that name that the panel uses, also after a reload."""
    return type(panel.installation).check.__globals__["dependencies"]


def finished(task) -> bool:
    return not task.running


def give_command(panel, command: str) -> None:
    panel.ui.remoteEdit.text = command
    standin.unwrap(panel.ui.remoteEdit).editingFinished.emit()


@pytest.fixture
def command(panel):
    """A function that sets the "Worker command", which is cleared at the end."""
    yield lambda text: give_command(panel, text)
    give_command(panel, "")


def test_an_export_runs_by_the_present_command_and_one_that_runs_goes_on(panel, command, tmp_path) -> None:
    ui, export = panel.ui, panel.operations.export.task
    begin_export(panel, tmp_path, 3)
    standin.pump(lambda: " of 3:" in ui.exportLabel.text, 60)
    command("/nowhere/ssh gpuhost worker")
    assert export.running and "continue where they were started" in ui.modelsLabel.text
    standin.pump(lambda: finished(export), 60)
    assert "3 in all" in ui.exportLabel.text
    begin_export(panel, tmp_path, 3, "Dataset002_Heads")
    standin.pump(lambda: finished(export), 60)
    assert "'/nowhere/ssh' cannot be started" in ui.exportLabel.text
    assert not (tmp_path / "Dataset002_Heads").exists()
    command("")
    assert "Current runs continue" not in ui.modelsLabel.text
    begin_export(panel, tmp_path, 3, "Dataset002_Heads")
    standin.pump(lambda: finished(export), 60)
    assert "3 in all" in ui.exportLabel.text


def test_packages_are_installed_while_no_worker_uses_them(panel, phantom, torch, tmp_path, monkeypatch) -> None:
    ui, dependencies = panel.ui, dependencies_of(panel)
    monkeypatch.setattr(dependencies, "missing", lambda: [torch])
    ui.checkButton.click()
    assert ui.installButton.enabled
    begin_export(panel, tmp_path, 4)
    assert not ui.installButton.enabled and "Wait until the current runs have ended" in ui.installButton.toolTip
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


def test_a_worker_without_a_package_says_where_to_get_it(panel, phantom, tmp_path, monkeypatch) -> None:
    """The worker may be on another machine, whose packages Slicer does not see."""
    ui, tasks = panel.ui, panel.operations
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text('raise ModuleNotFoundError("No module", name="torch")')
    (tmp_path / "captions.csv").write_text("image,caption\nin/0.png,a head\n")
    panel.models.endWorkers()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    segment(panel, add_volume(phantom.image))
    begin_export(panel, tmp_path, 1)
    standin.pump(lambda: finished(tasks.export.task), 60)
    ui.fineTuneCaptionsEdit.currentPath, ui.fineTuneNameEdit.text = str(tmp_path / "captions.csv"), "mine"
    ui.fineTuneButton.click()
    standin.pump(lambda: finished(tasks.fineTune.task), 60)
    ui.refreshModelsButton.click()
    standin.pump(lambda: "Looking" not in ui.modelsLabel.text, 60)
    for label in (ui.statusLabel, ui.exportLabel, ui.fineTuneLabel, ui.modelsLabel):
        assert "not installed: torch." in label.text and "In 3D Slicer: Install under Installation" in label.text
    panel.models.endWorkers()


def test_nothing_is_started_without_the_packages_that_it_needs(panel, torch, tmp_path, monkeypatch) -> None:
    ui, dependencies = panel.ui, dependencies_of(panel)
    ui.inputVolumeSelector.setCurrentNode(add_volume(np.zeros((12, 16), np.int16)))
    ui.promptEdit.setPlainText(PROMPT)
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(tmp_path), str(tmp_path / "made")
    ui.fineTuneCaptionsEdit.currentPath, ui.fineTuneNameEdit.text = str(tmp_path / "captions.csv"), "mine"
    buttons = ui.segmentButton, ui.exportButton, ui.fineTuneButton
    for label in (ui.statusLabel, ui.exportLabel, ui.fineTuneLabel):
        label.text = ""
    # An absent one; of another version it may do, and the panel only warns.
    for found, enabled in ((replace(torch, installed=None), False), (torch, True)):
        with monkeypatch.context() as patched:
            patched.setattr(dependencies, "missing", lambda found=found: [found])
            ui.checkButton.click()
            assert [button.enabled for button in buttons] == [enabled] * 3
            assert "torch must be installed first" in ui.warningLabel.text
            for label in () if enabled else (ui.exportLabel, ui.fineTuneLabel):
                assert "torch must be installed first" in label.text
            assert ui.statusLabel.text == ""
    ui.checkButton.click()


def test_the_start_buttons_follow_the_command_and_what_is_installed(panel, command, torch, monkeypatch) -> None:
    ui, dependencies = panel.ui, dependencies_of(panel)
    ui.inputVolumeSelector.setCurrentNode(add_volume(np.zeros((12, 16), np.int16)))
    ui.promptEdit.setPlainText(PROMPT)
    with monkeypatch.context() as patched:
        patched.setattr(dependencies, "missing", lambda: [replace(torch, installed=None)])
        ui.checkButton.click()
        assert "torch must be installed" in ui.warningLabel.text and ui.warningLabel.isVisibleTo(panel.content)
        command("ssh gpu worker")
        assert ui.segmentButton.enabled, "the packages are those of the other machine"
        assert "must be installed" not in ui.warningLabel.text
        command("")
        assert not ui.segmentButton.enabled
    panel.exit()
    panel.enter()
    assert ui.segmentButton.enabled, "installed meanwhile, by another module"
    assert "must be installed" not in ui.warningLabel.text


def test_a_missing_model_is_got_by_buttons_for_every_task(panel, tmp_path) -> None:
    ui, tasks = panel.ui, panel.operations
    ui.modelsFolderEdit.currentPath = str(tmp_path)
    panel.parameters.clip = "biomedclip"
    begin_export(panel, tmp_path, 2)
    standin.pump(lambda: finished(tasks.export.task), 60)
    rows = "".join(f"in/{number}.png,a head with finding {number}\n" for number in range(2))
    (tmp_path / "captions.csv").write_text(f"image,caption\n{rows}")
    ui.fineTuneCaptionsEdit.currentPath, ui.fineTuneNameEdit.text = str(tmp_path / "captions.csv"), "mine"
    ui.fineTuneButton.click()
    standin.pump(lambda: finished(tasks.fineTune.task), 60)
    for label in (ui.exportLabel, ui.fineTuneLabel):
        assert "'biomedclip'" in label.text and "press Download, or name a folder of models" in label.text
        assert "models download" not in label.text and "--" not in label.text
    ui.modelsFolderEdit.currentPath = str(tmp_path / "none")
    ui.exportButton.click()
    standin.pump(lambda: finished(tasks.export.task), 60)
    assert "none' does not exist. Choose a folder of models" in ui.exportLabel.text
    panel.parameters.clip = "demo"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (r'"C:\Program Files\conda\python.exe" -m W', [r"C:\Program Files\conda\python.exe", "-m", "W"]),
        (r'ssh gpu "conda run python -m W" # 1', ["ssh", "gpu", "conda run python -m W", "#", "1"]),
        (r'python -m W --log-file="D:\my logs\w.txt"', ["python", "-m", "W", r"--log-file=D:\my logs\w.txt"]),
        (r"C:\Users\O'Brien\python.exe -m W", [r"C:\Users\O'Brien\python.exe", "-m", "W"]),
    ],
)
def test_a_command_of_windows_is_divided_as_there(monkeypatch, typed: str, words: list[str]) -> None:
    from MedCLIPSAMScene import transport

    windows = SimpleNamespace(name="nt", environ={})
    monkeypatch.setattr("MedCLIPSAMLib.worker.subprocess_transport.os", windows)
    assert transport.workerCommand(typed).arguments == SubprocessTransport(typed).command == words
    with pytest.raises(InputError, match="cannot be read"):
        transport.workerCommand('python "-m')
