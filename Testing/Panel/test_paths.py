"""The paths of the panel: the dialogs behind their buttons, and empty ones."""

from __future__ import annotations

import pytest
import standin

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


def test_an_empty_path_is_shown_empty(panel) -> None:
    shown = {name: getattr(panel.ui, name).currentPath for name in PATHS}
    assert shown == dict.fromkeys(PATHS, "")


def test_a_path_that_is_cleared_counts_as_empty(panel) -> None:
    panel.ui.reviewFolderEdit.currentPath = "/predictions"
    assert panel.ui.listReviewButton.enabled
    panel.ui.reviewFolderEdit.currentPath = ""
    assert not panel.ui.listReviewButton.enabled
    panel.ui.reviewFolderEdit.currentPath = "/predictions/"
    panel.parameters.parameterNode.Modified()
    assert panel.ui.reviewFolderEdit.currentPath.rstrip("/") == "/predictions" and panel.ui.listReviewButton.enabled
