"""Notes listed under a result: what the user should know about the wording, the volume and the run."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import standin
from heads import add_volume, idle, segment, show
from helpers.scene import PROMPT
from MedCLIPSAMScene import protect, segmentTags

from MedCLIPSAMLib.worker.protocol import Message


def notes(panel) -> str:
    """Return the notes under the result; empty if they are hidden."""
    label = panel.ui.notesLabel
    assert label.isVisibleTo(panel.content) == bool(label.text)
    return label.text


def test_words_that_the_model_does_not_know_are_a_note_and_stay_with_the_segment(panel, phantom, tmp_path) -> None:
    volume = add_volume(phantom.image)
    prompt = f"{PROMPT} xylophone"
    segment(panel, volume, prompt)
    told = notes(panel)
    assert [note for note in told.splitlines() if "were left out: xylophone." in note]
    assert [note for note in told.splitlines() if f"check whether this mask shows '{prompt}'." in note]
    assert "xylophone." not in panel.ui.resultLabel.text.partition("\n")[0]
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear(0)
    assert notes(panel) == "" and panel.ui.resultLabel.text == "No result yet."
    (tmp_path / "unpacked").mkdir()
    application = slicer.vtkMRMLApplicationLogic()
    application.SetMRMLScene(slicer.mrmlScene)
    assert application.OpenSlicerDataBundle(str(path), str(tmp_path / "unpacked"))
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.corrections.choose(node.GetSegmentation().GetNthSegmentID(0))
    assert notes(panel) == told
    assert f"made by the prompt '{prompt}', score 0." in panel.ui.resultLabel.text


def test_notes_are_those_of_the_last_run_only(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume, f"{PROMPT} xylophone")
    assert notes(panel)
    segment(panel, volume)
    assert notes(panel) == ""
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    assert segmentTags.notesOf(node, identifier) == []


def test_values_that_are_no_numbers_are_counted_and_do_no_harm(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    whole = slicer.util.arrayFromSegmentBinaryLabelmap(
        panel.parameters.segmentation, panel.corrections.segment(), volume
    )
    array = slicer.util.arrayFromVolume(volume).astype(np.float32)
    array[1, :3, :5] = np.nan
    array[0, 0, 0] = np.inf  # on a slice that is not looked at
    slicer.util.updateVolumeFromArray(volume, array)
    segment(panel, volume)
    assert "15 voxels of these slices are NaN or infinite" in notes(panel)
    again = slicer.util.arrayFromSegmentBinaryLabelmap(
        panel.parameters.segmentation, panel.corrections.segment(), volume
    )
    array[1, :3, :5] = 0
    array[1, 0, 0] = np.nan
    slicer.util.updateVolumeFromArray(volume, array)
    segment(panel, volume)
    assert "One voxel of these slices is NaN or infinite" in notes(panel)
    assert 2 * (whole & again).sum() > 0.9 * (whole.sum() + again.sum())


def test_how_many_slices_are_locked_is_said(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    segment(panel, volume)
    node, identifier = panel.parameters.segmentation, panel.corrections.segment()
    panel.ui.extentBox.setCurrentIndex(2)
    panel.ui.strategyBox.setCurrentIndex(2)  # each slice on its own
    for locked, said in (({0}, "One slice is locked and stays as it was."), ({0, 2}, "2 slices are locked and stay")):
        protect.setLocked(node, identifier, "axial", locked, volume)
        segment(panel, volume)
        assert said in panel.ui.resultLabel.text


def test_a_window_that_shows_nothing_is_said(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    volume.GetDisplayNode().SetWindowLevelMinMax(2000, 3000)
    segment(panel, volume)
    assert "window (2000 to 3000) shows nothing but black or white" in notes(panel)


def test_an_empty_slice_is_said(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    show(volume, 0)
    segment(panel, volume)
    assert "all of their voxels have the same value" in notes(panel)


def test_a_tilted_gantry_is_said(panel, phantom) -> None:
    volume = add_volume(phantom.image)
    sheared = np.diag([-1.0, -1.0, 4.0, 1.0])
    sheared[:3, 3] = 60, 70, -20
    sheared[1, 2] = 4 * np.tan(np.radians(12))
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(sheared))
    show(volume, 1)
    segment(panel, volume)
    assert "axes are 12.0 degrees from right angles" in notes(panel)


def test_a_place_that_cannot_be_is_refused_with_a_remedy(panel, phantom) -> None:
    for spacing, said in ((0.0, "voxel spacing"), (1e-6, "voxel spacing"), (np.nan, "voxel spacing")):
        volume = add_volume(phantom.image)
        panel.ui.inputVolumeSelector.setCurrentNode(volume)
        matrix = np.diag([-1.0, -1.0, spacing, 1.0])
        volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        panel.ui.promptEdit.setPlainText(PROMPT)
        panel.ui.segmentButton.click()
        assert idle(panel) and said in panel.ui.statusLabel.text, (spacing, panel.ui.statusLabel.text)
    flat = np.diag([-1.0, -1.0, 1.0, 1.0])
    flat[:3, 2] = 1, 1, 0
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(flat))
    panel.ui.segmentButton.click()
    assert idle(panel) and "lie in one plane" in panel.ui.statusLabel.text


def test_an_item_of_a_sequence_is_said(panel, phantom) -> None:
    for node in (slicer.vtkMRMLSequenceNode(), slicer.vtkMRMLSequenceBrowserNode()):
        slicer.mrmlScene.RegisterNodeClass(node)  # as the module Sequences does at the start of Slicer
    first = add_volume(phantom.image)
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for value in range(3):
        sequence.SetDataNodeAtValue(first, str(value))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(first, sequence, False)
    browser.SetSelectedItemNumber(1)
    segment(panel, first)
    assert "item 2 of 3 of the sequence 'cine'" in notes(panel)


def test_what_the_worker_tells_is_a_note_on_the_segment_too(panel, phantom) -> None:
    """A graphics card runs out of memory. There may be no card here, so the worker's message is inserted."""
    volume = add_volume(phantom.image)
    told = "The GPU has too little memory: the models run on the CPU from now on, which is slower."
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    panel.ui.segmentButton.click()
    panel.session.job.receive(None, Message("notice", 0, {"message": told}, {}))
    standin.pump(lambda: idle(panel), 120)
    assert notes(panel) == f"\u2022 {told}"
    assert segmentTags.notesOf(panel.parameters.segmentation, panel.corrections.segment()) == [told]
    segment(panel, volume)
    assert notes(panel) == ""
