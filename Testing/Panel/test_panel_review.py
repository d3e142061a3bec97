"""Review in the panel: the least sure cases come first, are corrected, and are written where the user wants it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from helpers.predictions import predicted
from MedCLIPSAMScene import overlay, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices, ijkToRAS

from MedCLIPSAMLib.nnunet.trust import trusted_cases
from MedCLIPSAMLib.volumes import read_segmentation

SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-output" / "panel"


@pytest.fixture(autouse=True)
def nothing_is_left_said(panel) -> Iterator[None]:
    """Clear the messages of the panel, which is that of the whole session, for the next test."""
    yield
    panel.ui.reviewLabel.text = ""


def test_the_least_sure_cases_are_reviewed_and_trusted(panel, tmp_path) -> None:
    ui, (dataset, out, truths) = panel.ui, predicted(tmp_path, 3)
    assert not ui.listReviewButton.enabled
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    table = ui.reviewTable
    assert [table.item(row, 0).text() for row in range(3)] == ["head2", "head1", "head0"]
    assert "3 cases, 0 of them trusted" in ui.reviewLabel.text and not ui.trustButton.enabled
    assert ui.reviewTargetLabel.text == f"Corrections go into '{dataset}'."
    ui.nextReviewButton.click()
    volume, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
    assert volume.GetName() == "head2" and "correct the mask" in ui.reviewLabel.text, ui.reviewLabel.text
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    assert red.GetBackgroundVolumeID() == volume.GetID()
    assert red.GetForegroundVolumeID() == overlay.mapOf(volume, overlay.UNCERTAINTY).GetID()
    ui.uncertaintyBox.checked = False
    assert red.GetForegroundVolumeID() is None
    ui.uncertaintyBox.checked = True
    ui.reviewCollapsibleButton.collapsed = False
    standin.screenshot(panel.parent, SCREENSHOTS / "review.png")
    ui.reviewCollapsibleButton.collapsed = True
    ui.trustButton.click()
    assert not standin.messages, "a dataset beside the predictions is not asked about"
    assert "one of 1" in ui.reviewLabel.text and table.item(0, 2).text() == "trusted", ui.reviewLabel.text
    assert (read_segmentation(dataset / "labelsTr" / "head2.nii.gz")[0].mask == truths["head2"]).all()
    ui.nextReviewButton.click()
    assert panel.parameters.inputVolume.GetName() == "head1"
    assert not slicer.mrmlScene.IsNodePresent(volume) and not slicer.mrmlScene.IsNodePresent(segmentation)
    # A correction that is not saved stays in the scene, and that is said.
    volume, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
    identifier = segmentation.GetSegmentation().GetNthSegmentID(0)
    segments.writeMask(segmentation, identifier, ~truths["head1"], ijkToRAS(volume))
    table.setCurrentCell(2, 0)
    ui.openReviewButton.click()
    assert panel.parameters.inputVolume.GetName() == "head0" and "was not saved" in ui.reviewLabel.text
    assert slicer.mrmlScene.IsNodePresent(segmentation)
    for row in (1, 1, 0, 1):  # gone back to, opened while it is open, and gone back to again
        table.setCurrentCell(row, 0)
        ui.openReviewButton.click()
        assert (panel.parameters.segmentation is segmentation) == (row == 1)
    ui.trustButton.click()
    assert (read_segmentation(dataset / "labelsTr" / "head1.nii.gz")[0].mask == ~truths["head1"]).all()


def test_a_dataset_that_only_the_predictions_name_is_asked_about_once(panel, tmp_path) -> None:
    """The predictions are from elsewhere, and name a dataset on this machine that is not next to them."""
    ui, (dataset, out, _) = panel.ui, predicted(tmp_path, 2)
    (tmp_path / "elsewhere").mkdir()
    out = out.rename(tmp_path / "elsewhere" / "predictions")
    named = json.loads((out / "export.json").read_text()) | {"dataset": str(dataset)}
    (out / "export.json").write_text(json.dumps(named))
    assert not ui.reviewTargetLabel.text
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    assert ui.reviewTargetLabel.text == f"Corrections go into '{dataset}'."
    ui.nextReviewButton.click()
    standin.answers["confirm"] = False
    ui.trustButton.click()
    ((kind, asked),) = standin.messages
    assert kind == "confirm" and str(dataset) in asked and str(out) in asked
    assert "Nothing was written" in ui.reviewLabel.text and not trusted_cases(dataset)
    standin.answers["confirm"] = True
    for count in (1, 2):  # asked again after a no, and not after a yes
        ui.trustButton.click()
        assert f"one of {count}." in ui.reviewLabel.text and len(standin.messages) == 2
        ui.nextReviewButton.click()


def test_a_chosen_dataset_is_where_corrections_go_and_is_asked_about_where_it_is_not_beside_them(panel, tmp_path):
    ui, (dataset, out, _) = panel.ui, predicted(tmp_path, 1)
    (tmp_path / "elsewhere").mkdir()
    out = out.rename(tmp_path / "elsewhere" / "predictions")
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    assert ui.reviewTargetLabel.text == f"Corrections go into '{out.parent / dataset.name}'."  # which is not there
    ui.reviewDatasetEdit.currentPath = str(dataset)
    assert ui.reviewTargetLabel.text == f"Corrections go into '{dataset}'."
    ui.nextReviewButton.click()
    standin.answers["confirm"] = True  # a scene from elsewhere may have filled the field
    ui.trustButton.click()
    assert "one of 1." in ui.reviewLabel.text and trusted_cases(dataset) and len(standin.messages) == 1


def test_what_was_trusted_is_said_also_when_the_field_holds_another_folder_by_then(panel, tmp_path) -> None:
    ui, (dataset, out, _) = panel.ui, predicted(tmp_path, 2)
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    ui.nextReviewButton.click()
    ui.reviewFolderEdit.currentPath = str(tmp_path / "elsewhere")
    ui.trustButton.click()
    assert "one of 1." in ui.reviewLabel.text
    assert trusted_cases(dataset)


def test_a_case_is_opened_from_the_folder_that_is_listed(panel, tmp_path) -> None:
    """Another folder in the field has cases of the same names, and is not listed yet."""
    ui, folders = panel.ui, (tmp_path / "one", tmp_path / "other")
    for folder in folders:
        folder.mkdir()
    (dataset, out, _), (_, other, _) = (predicted(folder, 1) for folder in folders)
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    ui.reviewFolderEdit.currentPath = str(other)
    ui.nextReviewButton.click()
    assert ui.reviewTargetLabel.text == f"Corrections go into '{dataset}'."


def test_the_uncertainty_is_shown_again_for_a_case_of_another_scene(panel, tmp_path) -> None:
    """A closed scene releases its node IDs, so the next case may have that of the previous one."""
    ui, (_, out, _) = panel.ui, predicted(tmp_path, 1)
    for _ in range(2):
        ui.reviewFolderEdit.currentPath = str(out)
        ui.listReviewButton.click()
        ui.nextReviewButton.click()
        volume = panel.parameters.inputVolume
        red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        assert red.GetForegroundVolumeID() == overlay.mapOf(volume, overlay.UNCERTAINTY).GetID()
        slicer.mrmlScene.Clear(0)


def test_the_uncertainty_is_back_when_what_hid_it_is_gone(panel, tmp_path) -> None:
    """A prompt on the opened case shows its saliency over it; a filter writes other voxels, and is undone."""
    ui, (_, out, _) = panel.ui, predicted(tmp_path, 1)
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    ui.nextReviewButton.click()
    volume = panel.parameters.inputVolume
    over = lambda: slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").GetForegroundVolumeID()
    unsure, voxels = overlay.mapOf(volume, overlay.UNCERTAINTY).GetID(), slicer.util.arrayFromVolume(volume).copy()
    slices = SceneSlices(volume)
    saliency = overlay.writeSaliency(slices, "tumor", {0: np.ones(slices.stack.image_shape, np.float32)}).GetID()
    panel.update()
    assert over() == saliency and not ui.uncertaintyBox.enabled and "hide it" in ui.uncertaintyBox.toolTip
    ui.saliencyCheckBox.checked = False
    assert over() == unsure and ui.uncertaintyBox.enabled
    ui.saliencyCheckBox.checked = True
    assert over() == saliency
    overlay.removeMaps(volume, (overlay.SALIENCY,))
    panel.update()
    assert over() == unsure
    slicer.util.updateVolumeFromArray(volume, voxels[:, ::-1])
    assert over() is None
    slicer.util.updateVolumeFromArray(volume, voxels)
    assert over() == unsure


def test_a_case_that_was_moved_is_opened_anew(panel, tmp_path) -> None:
    """This follows the message that says why its mask was not written."""
    ui, (dataset, out, truths) = panel.ui, predicted(tmp_path, 1)
    ui.reviewFolderEdit.currentPath = str(out)
    ui.listReviewButton.click()
    ui.nextReviewButton.click()
    moved, segmentation = panel.parameters.inputVolume, panel.parameters.segmentation
    moved.SetOrigin(50, 0, 0)
    ui.trustButton.click()
    assert "open the case again" in ui.reviewLabel.text and not trusted_cases(dataset)
    ui.reviewTable.setCurrentCell(0, 0)
    ui.openReviewButton.click()
    assert panel.parameters.inputVolume is not moved
    assert "still in the scene" in ui.reviewLabel.text and "returns to it" not in ui.reviewLabel.text
    assert slicer.mrmlScene.IsNodePresent(segmentation)
    ui.trustButton.click()
    assert (read_segmentation(dataset / "labelsTr" / "head0.nii.gz")[0].mask == truths["head0"]).all()
