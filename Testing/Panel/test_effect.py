"""The text prompt in the Segment Editor, with the real logic of the editor and the real worker."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from effects import NAME, apply, by_panel, edit, paint, sampleData
from heads import add_volume, show
from helpers.scene import PROMPT, add_array, axial, mask_on
from MedCLIPSAMScene import protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume


def test_the_effect_is_there_once_and_a_slicer_without_effects_starts(editor, caplog, monkeypatch) -> None:
    assert list(editor.availableEffectNames()).count(NAME) == 1
    effect = editor.effectByName(NAME)
    assert effect.perSegment and effect.requireSegments and PROMPT in effect.helpText()
    assert not effect.icon().isNull()
    monkeypatch.setitem(sys.modules, "SampleData", sampleData())
    monkeypatch.setitem(sys.modules, "qSlicerSegmentationsEditorEffectsPythonQt", None)
    with caplog.at_level(logging.ERROR):
        standin.unwrap(slicer.app).startupCompleted.emit()
    assert "the text prompt could not be added" in caplog.text


def test_the_views_of_the_layout_are_offered(editor, panel, phantom) -> None:
    """Slicer tells effects about a change of the layout only while one of them is active."""
    _, effect = edit(editor, add_volume(phantom.image))
    offered = lambda: [effect.whereBox.itemData(index) for index in range(effect.whereBox.count)]
    views = ["view Red", "view Yellow", "view Green"]
    more = [f"{view}+" for view in views]
    kinds, layouts = slicer.vtkMRMLLayoutNode, slicer.app.layoutManager()
    try:
        assert offered()[:-3] == views
        layouts.setLayout(kinds.SlicerLayoutThreeOverThreeView)
        assert offered()[:-3] == views + more
        effect.whereBox.setCurrentIndex(3)
        editor.setActiveEffectByName("")
        layouts.setLayout(kinds.SlicerLayoutFourUpView)
        editor.setActiveEffectByName(NAME)
        assert offered()[:-3] == views and effect.whereBox.currentIndex == 0
        editor.setActiveEffectByName("")
        layouts.setLayout(kinds.SlicerLayoutThreeOverThreeView)
        editor.setActiveEffectByName(NAME)
        assert offered()[:-3] == views + more and effect.whereBox.currentIndex == 3, "as it was chosen"
    finally:
        standin.unwrap(layouts).forget()


def test_the_selected_segment_becomes_what_the_panel_finds(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    before = np.zeros(expected.shape, bool)
    before[0, 10:20, 10:20] = before[1, 2:6, 2:6] = before[2, 30:40, 5:9] = True
    paint(node, "Segment_1", volume, before)
    text = apply(effect)
    assert "presence" in text and "on CPU" in text
    mask = mask_on(node, "Segment_1", volume)
    assert (mask[1] == expected[1]).all()
    assert (mask[[0, 2]] == before[[0, 2]]).all()
    segment = node.GetSegmentation().GetSegment("Segment_1")
    assert segment.GetName() == "Segment_1" and not mask_on(node, "other", volume).any()
    tags = segmentTags.tags(segment)
    assert tags["MedCLIPSAM.Prompt"] == PROMPT and tags["MedCLIPSAM.Device"] == "cpu"
    assert tags["MedCLIPSAM.Slices"] == "1 to 1" and 0.5 < float(tags["MedCLIPSAM.Score"]) <= 1
    # For corrections to follow, the slice is the models' and the painted ones are the user's.
    assert set(protect.own(node, "Segment_1", SceneSlices(volume))) == {0, 2}
    editor.undo()
    assert (mask_on(node, "Segment_1", volume) == before).all()
    assert not segmentTags.tags(node.GetSegmentation().GetSegment("Segment_1"))


def test_nothing_changes_outside_the_editable_area(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "area"))
    middle = int(np.argwhere(expected)[:, 2].mean())
    area, before = np.zeros(expected.shape, bool), np.zeros(expected.shape, bool)
    area[:, :, :middle] = True
    before[1, 2:6] = True  # a stripe over both halves, off the lesion
    assert not (before & expected).any() and (expected & area).any() and (expected & ~area).any()
    paint(node, "area", volume, area)
    paint(node, "Segment_1", volume, before)
    settings = editor.mrmlSegmentEditorNode()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    settings.SetMaskSegmentID("area")
    settings.SetOverwriteMode(settings.OverwriteNone)
    apply(effect)
    mask = mask_on(node, "Segment_1", volume)
    assert (mask == (expected & area) | (before & ~area)).all()
    assert (mask_on(node, "area", volume) == area).all()

    editor.undo()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    apply(effect)
    assert (mask_on(node, "Segment_1", volume) == (expected & ~area) | (before & area)).all()

    editor.undo()
    paint(node, "area", volume, ~expected)
    states = editor.mrmlSegmentEditorNode()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    assert "masking settings" in apply(effect) and states is settings
    assert (mask_on(node, "Segment_1", volume) == before).all()


@pytest.mark.parametrize("inside", [False, True], ids=["everywhere", "inside a segment"])
def test_the_editable_intensity_range_is_obeyed(editor, panel, phantom, inside) -> None:
    volume = add_volume(phantom.image)
    expected, voxels = by_panel(panel, volume, slices=[1]), slicer.util.arrayFromVolume(volume)
    low = int(np.median(voxels[expected]))
    node, effect = edit(editor, volume, ("Segment_1", "area"))
    before = np.zeros(expected.shape, bool)
    before[1, :, ::2] = True
    paint(node, "Segment_1", volume, before)
    settings = editor.mrmlSegmentEditorNode()
    settings.SetOverwriteMode(settings.OverwriteNone)
    if inside:
        paint(node, "area", volume, np.ones(expected.shape, bool))
        settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
        settings.SetMaskSegmentID("area")
    settings.SetSourceVolumeIntensityMask(True)
    settings.SetSourceVolumeIntensityMaskRange(low, 300)
    apply(effect)
    editable = (voxels >= low) & (voxels <= 300)
    assert (expected & editable).any() and (expected & ~editable).any()
    wanted = np.where(editable, expected, before)
    wanted[[0, 2]] = False
    assert (mask_on(node, "Segment_1", volume) == wanted).all()


@pytest.mark.parametrize("mode", ["OverwriteAllSegments", "OverwriteVisibleSegments", "OverwriteNone"])
def test_other_segments_are_overwritten_or_not_as_the_editor_says(editor, panel, phantom, mode) -> None:
    volume = add_volume(phantom.image)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "shown", "hidden"))
    whole = np.ones(expected.shape, bool)
    for name in ("shown", "hidden"):
        paint(node, name, volume, whole)
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    settings = editor.mrmlSegmentEditorNode()
    settings.SetOverwriteMode(getattr(settings, mode))
    apply(effect)
    assert (mask_on(node, "Segment_1", volume) == expected).all()
    left = {"OverwriteAllSegments": (), "OverwriteVisibleSegments": ("hidden",), "OverwriteNone": ("shown", "hidden")}
    for name in ("shown", "hidden"):
        assert (mask_on(node, name, volume) == (whole if name in left[mode] else ~expected)).all()


TILT = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]) @ np.array([[12, -5, 0], [5, 12, 0], [0, 0, 13]]) / 13
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TILT * (-0.9, -1.0, 5.0), (40, 50, -30)
"""Voxels of 0.9 x 1 x 5 mm, turned about S and R; columns go to the patient's left, rows to posterior."""
OTHER = np.array([[1.3, 0, 0, -110.13], [0, 1.2, 0, -90.27], [0, 0, 1.1, -130.41], [0, 0, 0, 1]])


def test_the_mask_lies_where_it_should_in_a_segmentation_of_another_geometry(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image, matrix=OBLIQUE)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume)
    other = add_array(np.zeros((150, 150, 120)), OTHER)
    node.SetReferenceImageGeometryParameterFromVolumeNode(other)
    before = np.zeros(slicer.util.arrayFromVolume(other).shape, bool)
    before[:, ::2] = True
    segments.writeMask(node, "Segment_1", before, OTHER)
    apply(effect)
    mask = mask_on(node, "Segment_1", other)
    k, j, i = np.round(np.argwhere(expected).mean(0)).astype(int)
    assert expected[k, j, i]
    # By hand: the middle of that voxel, in RAS, and the voxel of the other grid around it.
    point = OBLIQUE[:3, :3] @ (i, j, k) + OBLIQUE[:3, 3]
    there = np.round((point - (-110.13, -90.27, -130.41)) / (1.3, 1.2, 1.1)).astype(int)
    assert mask[tuple(there[::-1])], there
    # And all of them: one whose middle lies in a voxel of the slice is as that voxel, the others are as they were.
    ijk = np.indices(mask.shape).reshape(3, -1)[::-1]
    points = OTHER[:3, :3] @ ijk + OTHER[:3, 3:]
    nearest = np.round(np.linalg.inv(OBLIQUE[:3, :3]) @ (points - OBLIQUE[:3, 3:])).astype(int)
    size = np.array([expected.shape[::-1]]).T
    looked = ((nearest >= 0) & (nearest < size)).all(0) & (nearest[2] == 1)
    wanted = before.ravel().copy()
    wanted[looked] = expected[tuple(nearest[::-1, looked])]
    assert expected[tuple(nearest[::-1, looked])].sum() > 100
    assert (mask.ravel() == wanted).all(), np.argwhere(mask.ravel() != wanted).size


def test_a_volume_under_a_transform_is_followed_and_another_transform_is_refused(editor, panel, phantom) -> None:
    volume = add_volume(phantom.image)
    expected = by_panel(panel, volume, slices=[1])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(
        slicer.util.vtkMatrixFromArray(np.array([[1.0, 0, 0, 7], [0, 1, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1]]))
    )
    volume.SetAndObserveTransformNodeID(transform.GetID())
    show(volume, 1)
    node, effect = edit(editor, volume)
    apply(effect)
    assert (mask_on(node, "Segment_1", volume) == expected).all()
    node.SetAndObserveTransformNodeID(None)
    editor.undo()
    assert "under different transforms" in apply(effect)
    assert not mask_on(node, "Segment_1", volume).any()


def test_the_whole_volume_becomes_what_the_panel_finds(editor, panel) -> None:
    phantom = make_volume("validation", 4, "MR", 1)
    volume = add_array(phantom.slices, axial())
    expected = by_panel(panel, volume, whole=True)
    node, effect = edit(editor, volume)
    before = np.zeros(expected.shape, bool)
    before[:, 2:6, 2:6] = True
    paint(node, "Segment_1", volume, before)
    protect.setLocked(node, "Segment_1", "axial", {2}, volume)
    row, coronal = int(np.argwhere(expected)[:, 1].mean()), SceneSlices(volume, "coronal").stack
    across = [coronal.source_index(k) for k in range(len(coronal))].index(row)
    protect.setLocked(node, "Segment_1", "coronal", {across}, volume)
    text = apply(effect, where="volume axial")
    assert "Seen on" in text and "of 24 slices" in text
    mask = mask_on(node, "Segment_1", volume)
    kept = np.zeros(mask.shape, bool)
    kept[SceneSlices(volume).stack.source_index(2)] = True
    kept[:, row] = True
    assert (mask[~kept] == expected[~kept]).all() and (mask[kept] == before[kept]).all()
    editor.undo()
    assert (mask_on(node, "Segment_1", volume) == before).all()


def test_nothing_found_is_said_and_the_segment_stays(editor) -> None:
    volume = add_volume(make_phantom("validation", 2, "MR", 0).image)
    node, effect = edit(editor, volume)
    before = np.zeros((3, *slicer.util.arrayFromVolume(volume).shape[1:]), bool)
    before[1, 5:9, 5:9] = True
    paint(node, "Segment_1", volume, before)
    editor.saveStateForUndo()
    assert "Nothing found" in apply(effect)
    assert (mask_on(node, "Segment_1", volume) == before).all()
    assert not segmentTags.tags(node.GetSegmentation().GetSegment("Segment_1"))
