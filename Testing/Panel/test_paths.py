"""The paths of the panel: the dialogs behind their buttons, and empty ones."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import standin

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.volumes.write import write_png

PATHS = {
    "modelsFolderEdit": "getExistingDirectory",
    "exportInputsEdit": "getExistingDirectory",
    "exportOutEdit": "getExistingDirectory",
    "reviewFolderEdit": "getExistingDirectory",
    "reviewDatasetEdit": "getExistingDirectory",
    "fineTuneCaptionsEdit": "getOpenFileName",
    "fineTuneImagesEdit": "getExistingDirectory",
}
"""Path edit -> the dialog that its button opens."""


@pytest.mark.parametrize("name", PATHS)
def test_browse_opens_the_dialog_that_the_path_needs(panel, name: str) -> None:
    edit = getattr(panel.ui, name)
    if not edit.showBrowseButton:
        pytest.skip("the path has buttons of its own")
    for dialog in ("getExistingDirectory", "getOpenFileName", "getSaveFileName"):
        standin.answers[f"QFileDialog.{dialog}"] = ""  # the user gives up
    standin.messages.clear()
    edit.browse()
    assert [kind for kind, _text in standin.messages] == [f"QFileDialog.{PATHS[name]}"]


def test_the_home_of_somebody_who_is_not_here_is_a_path(panel) -> None:
    """It may be on the worker's machine; here it is one that does not exist."""
    for name in PATHS:
        getattr(panel.ui, name).currentPath = "~nosuchuser/x"
    panel.update()
    assert panel.paths.local("reviewFolder") == "~nosuchuser/x"


def test_a_path_that_is_cleared_counts_as_empty(panel) -> None:
    panel.ui.reviewFolderEdit.currentPath = "/predictions"
    assert panel.ui.listReviewButton.enabled
    panel.ui.reviewFolderEdit.currentPath = ""
    assert not panel.ui.listReviewButton.enabled
    panel.ui.modelsFolderEdit.currentPath = "/models"
    assert panel.models.models()[3] == "/models"
    panel.ui.modelsFolderEdit.currentPath = ""
    assert panel.models.models()[3] is None
    panel.ui.reviewFolderEdit.currentPath = "/predictions/"
    panel.parameters.parameterNode.Modified()
    assert panel.ui.reviewFolderEdit.currentPath.rstrip("/") == "/predictions" and panel.ui.listReviewButton.enabled


def test_paths_stay_on_the_machine_and_out_of_the_scene(panel, fresh, tmp_path) -> None:
    """They may name patients, as the key of an export without names does."""
    for name in PATHS:
        getattr(panel.ui, name).currentPath = str(tmp_path / f"DOE_JOHN_{name}")
    panel.ui.exportKeyEdit.currentPath = str(tmp_path / "DOE_JOHN_key.csv")
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    saved = (tmp_path / "scene.mrml").read_text()
    assert "DOE_JOHN" not in saved and "export.format" in saved
    slicer.mrmlScene.Clear(0)
    assert "DOE_JOHN" in panel.ui.exportInputsEdit.currentPath
    made = fresh.widgetRepresentation().self()  # as after another start
    try:
        assert made.ui.exportKeyEdit.currentPath == str(tmp_path / "DOE_JOHN_key.csv")
    finally:
        made.cleanup()


def test_a_part_of_a_path_is_refused(panel, tmp_path) -> None:
    """The worker would write it into the folder that Slicer was started in."""
    ui = panel.ui
    ui.promptEdit.setPlainText("brain tumor")
    ui.exportInputsEdit.currentPath, ui.exportOutEdit.currentPath = str(tmp_path), "Dataset001_Heads"
    assert not ui.exportButton.enabled and "full path of 'Dataset001_Heads'" in ui.exportLabel.text
    for whole in (r"C:\data\Dataset001_Heads", "~/Dataset001_Heads", str(tmp_path / "Dataset001_Heads")):
        ui.exportOutEdit.currentPath = whole
        assert ui.exportButton.enabled, whole
    ui.fineTuneNameEdit.text, ui.fineTuneCaptionsEdit.currentPath = "mine", "captions.csv"
    assert not ui.fineTuneButton.enabled and "full path of 'captions.csv'" in ui.fineTuneLabel.text
    ui.reviewFolderEdit.currentPath = "predictions"
    assert not ui.listReviewButton.enabled and "full path of 'predictions'" in ui.reviewLabel.text


@pytest.mark.parametrize("typed", ['"{path}"', " {path} ", "~/{name}"])
def test_a_path_is_read_as_it_was_copied(panel, tmp_path, monkeypatch, typed: str) -> None:
    """Paths may be in quotation marks, as from "Copy as path" in Windows, or start at the home folder of the worker."""
    ui, export = panel.ui, panel.operations.export.task
    image = make_phantom("validation", 3, "MR", 1).image
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "head.png", np.repeat(image[..., None], 3, 2))
    export.client.shutdown()
    monkeypatch.setenv("HOME", str(tmp_path))
    ui.promptEdit.setPlainText("brain tumor")
    for edit, name in ((ui.exportInputsEdit, "in"), (ui.exportOutEdit, "Dataset001_Heads")):
        edit.currentPath = typed.format(path=tmp_path / name, name=name)
    ui.exportButton.click()
    standin.pump(lambda: not export.running, 60)
    assert "1 in all: " in ui.exportLabel.text
    assert (tmp_path / "Dataset001_Heads" / "dataset.json").is_file()
    export.client.shutdown()
