"""The text prompt in the Segment Editor, with the real logic of the editor and the real worker."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import slicer
import slicer.util
import standin
from MedCLIPSAMScene import protect, segments
from MedCLIPSAMScene.samples import SAMPLE
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume

NAME = "Text prompt (MedCLIPSAM)"
PROMPT = "brain tumor"
SCREENSHOT = Path(__file__).resolve().parents[2] / "test-output" / "panel" / "effect.png"
AXIAL = np.array([[-1.0, 0, 0, 60], [0, -1, 0, 70], [0, 0, 4, -20], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def phantom():
    return next(
        made
        for made in (make_phantom("validation", index, "MR", 1) for index in range(3, 40))
        if made.lesion_mask.sum() > 300
    )


@pytest.fixture(scope="module")
def registered(widget):
    """The effect among those of every editor, as at the end of Slicer's start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "SampleData", sampleData())
        standin.unwrap(slicer.app).startupCompleted.emit()
        standin.unwrap(slicer.app).startupCompleted.emit()


def sampleData() -> ModuleType:
    module = ModuleType("SampleData")
    module.SampleDataLogic = SimpleNamespace(registerCustomSampleDataSource=lambda **_options: None)
    return module


@pytest.fixture
def editor(panel, registered):
    """An editor as that of the Segment Editor module."""
    made = slicer.qMRMLSegmentEditorWidget()
    made.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    made.setMRMLScene(slicer.mrmlScene)
    yield made
    made.setActiveEffectByName("")
    made.setMRMLSegmentEditorNode(None)
    made.deleteLater()


def add_volume(array: np.ndarray, matrix: np.ndarray = AXIAL):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "head")
    slicer.util.updateVolumeFromArray(node, array.astype(np.int16))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return node


def head(phantom, matrix: np.ndarray = AXIAL, at: int = 1):
    """Three slices, one of which shows the phantom; the Red view shows it."""
    array = np.zeros((3, *phantom.picture.shape))
    array[at] = phantom.picture
    node = add_volume(array, matrix)
    show(node, at)
    return node


def show(volume, k: int) -> None:
    slices = SceneSlices(volume)
    view = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    height, width = slices.stack.picture_shape
    for row, value in enumerate(slices.toWorld(k, width / 2, height / 2)):
        view.GetSliceToRAS().SetElement(row, 3, value)
    view.UpdateMatrices()


def edit(editor, volume, names=("Segment_1",)):
    """A segmentation with empty segments in the editor, the first one selected, and the effect, active."""
    node = segments.newSegmentation(volume)
    for name in names:
        node.GetSegmentation().AddEmptySegment(name, name)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    editor.setCurrentSegmentID(names[0])
    editor.setActiveEffectByName(NAME)
    return node, editor.activeEffect().self()


def begin(effect, prompt: str = PROMPT, where: str = "view Red") -> None:
    effect.promptEdit.setText(prompt)
    effect.whereBox.setCurrentIndex(effect.whereBox.findData(where))
    assert effect.applyButton.enabled and not effect.cancelButton.enabled
    effect.applyButton.click()


def apply(effect, prompt: str = PROMPT, where: str = "view Red") -> str:
    """What the user does: type, press the button, wait. Returns what is said."""
    begin(effect, prompt, where)
    standin.pump(lambda: not effect.cancelButton.enabled, 120)
    assert effect.applyButton.enabled and not shown(effect, effect.progressBar)
    return effect.statusLabel.text


def shown(effect, widget) -> bool:
    return widget.isVisibleTo(effect.scriptedEffect.optionsFrame())


def mask_of(node, identifier: str, volume) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, identifier, volume) > 0


def paint(node, identifier: str, volume, mask: np.ndarray) -> None:
    """Put a (K, J, I) mask into a segment."""
    segments.writeMask(node, identifier, mask, AXIAL)


def by_panel(panel, volume, **options) -> np.ndarray:
    """What the panel's segment of the prompt has."""
    panel.session.models = panel.models.models()
    run = panel.operations.propagate.run if options.pop("whole", False) else panel.operations.segment.run
    result = run(volume, [PROMPT], timeout=120, **options)
    mask = mask_of(result.segmentation, result.prompts[0].segmentId, volume)
    assert mask.any()
    return mask


def test_the_effect_is_there_once_and_a_slicer_without_effects_starts(editor, caplog, monkeypatch) -> None:
    assert list(editor.availableEffectNames()).count(NAME) == 1
    effect = editor.effectByName(NAME)
    assert effect.perSegment and effect.requireSegments and PROMPT in effect.helpText()
    assert not effect.icon().isNull()
    monkeypatch.setitem(sys.modules, "SampleData", sampleData())
    monkeypatch.setitem(sys.modules, "qSlicerSegmentationsEditorEffectsPythonQt", None)
    with caplog.at_level(logging.ERROR):
        standin.unwrap(slicer.app).startupCompleted.emit()
    assert "gets no text prompt" in caplog.text


def test_the_selected_segment_becomes_what_the_panel_finds(editor, panel, phantom) -> None:
    volume = head(phantom)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    before = np.zeros(expected.shape, bool)
    before[0, 10:20, 10:20] = before[1, 2:6, 2:6] = before[2, 30:40, 5:9] = True
    paint(node, "Segment_1", volume, before)
    text = apply(effect)
    assert "presence" in text and "on CPU" in text
    mask = mask_of(node, "Segment_1", volume)
    assert (mask[1] == expected[1]).all()
    assert (mask[[0, 2]] == before[[0, 2]]).all()
    segment = node.GetSegmentation().GetSegment("Segment_1")
    assert segment.GetName() == "Segment_1" and not mask_of(node, "other", volume).any()
    tags = segments.tags(segment)
    assert tags["MedCLIPSAM.Prompt"] == PROMPT and tags["MedCLIPSAM.Device"] == "cpu"
    assert tags["MedCLIPSAM.Slices"] == "1 to 1" and 0.5 < float(tags["MedCLIPSAM.Score"]) <= 1
    # For corrections to follow, the slice is the models' and the painted ones are the user's.
    assert set(protect.own(node, "Segment_1", SceneSlices(volume))) == {0, 2}
    editor.undo()
    assert (mask_of(node, "Segment_1", volume) == before).all()
    assert not segments.tags(node.GetSegmentation().GetSegment("Segment_1"))


def test_nothing_changes_outside_the_editable_area(editor, panel, phantom) -> None:
    volume = head(phantom)
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
    mask = mask_of(node, "Segment_1", volume)
    assert (mask == (expected & area) | (before & ~area)).all()
    assert (mask_of(node, "area", volume) == area).all()

    editor.undo()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    apply(effect)
    assert (mask_of(node, "Segment_1", volume) == (expected & ~area) | (before & area)).all()

    editor.undo()
    paint(node, "area", volume, ~expected)
    states = editor.mrmlSegmentEditorNode()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    assert "masking settings" in apply(effect) and states is settings
    assert (mask_of(node, "Segment_1", volume) == before).all()


@pytest.mark.parametrize("inside", [False, True], ids=["everywhere", "inside a segment"])
def test_the_editable_intensity_range_is_obeyed(editor, panel, phantom, inside) -> None:
    volume = head(phantom)
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
    assert (mask_of(node, "Segment_1", volume) == wanted).all()


@pytest.mark.parametrize("mode", ["OverwriteAllSegments", "OverwriteVisibleSegments", "OverwriteNone"])
def test_other_segments_are_overwritten_or_not_as_the_editor_says(editor, panel, phantom, mode) -> None:
    volume = head(phantom)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "shown", "hidden"))
    whole = np.ones(expected.shape, bool)
    for name in ("shown", "hidden"):
        paint(node, name, volume, whole)
    node.GetDisplayNode().SetSegmentVisibility("hidden", False)
    settings = editor.mrmlSegmentEditorNode()
    settings.SetOverwriteMode(getattr(settings, mode))
    apply(effect)
    assert (mask_of(node, "Segment_1", volume) == expected).all()
    left = {"OverwriteAllSegments": (), "OverwriteVisibleSegments": ("hidden",), "OverwriteNone": ("shown", "hidden")}
    for name in ("shown", "hidden"):
        assert (mask_of(node, name, volume) == (whole if name in left[mode] else ~expected)).all()


TILT = np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]) @ np.array([[12, -5, 0], [5, 12, 0], [0, 0, 13]]) / 13
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TILT * (-0.9, -1.0, 5.0), (40, 50, -30)
"""Voxels of 0.9 x 1 x 5 mm, turned about S and R; columns go to the patient's left, rows to posterior."""
OTHER = np.array([[1.3, 0, 0, -110.13], [0, 1.2, 0, -90.27], [0, 0, 1.1, -130.41], [0, 0, 0, 1]])


def test_the_mask_lies_where_it_should_in_a_segmentation_of_another_geometry(editor, panel, phantom) -> None:
    volume = head(phantom, OBLIQUE)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume)
    other = add_volume(np.zeros((150, 150, 120)), OTHER)
    node.SetReferenceImageGeometryParameterFromVolumeNode(other)
    before = np.zeros(slicer.util.arrayFromVolume(other).shape, bool)
    before[:, ::2] = True
    segments.writeMask(node, "Segment_1", before, OTHER)
    apply(effect)
    mask = mask_of(node, "Segment_1", other)
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
    volume = head(phantom)
    expected = by_panel(panel, volume, slices=[1])
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(
        slicer.util.vtkMatrixFromArray(np.array([[1.0, 0, 0, 7], [0, 1, 0, -3], [0, 0, 1, 11], [0, 0, 0, 1]]))
    )
    volume.SetAndObserveTransformNodeID(transform.GetID())
    show(volume, 1)
    node, effect = edit(editor, volume)
    apply(effect)
    assert (mask_of(node, "Segment_1", volume) == expected).all()
    node.SetAndObserveTransformNodeID(None)
    editor.undo()
    assert "under different transforms" in apply(effect)
    assert not mask_of(node, "Segment_1", volume).any()


def test_the_whole_volume_becomes_what_the_panel_finds(editor, panel) -> None:
    phantom = make_volume("validation", 4, "MR", 1)
    volume = add_volume(phantom.slices)
    expected = by_panel(panel, volume, whole=True)
    node, effect = edit(editor, volume)
    before = np.zeros(expected.shape, bool)
    before[:, 2:6, 2:6] = True
    paint(node, "Segment_1", volume, before)
    protect.setLocked(node, "Segment_1", "axial", {2})
    text = apply(effect, where="volume axial")
    assert "Seen on" in text and "of 24 slices" in text
    mask = mask_of(node, "Segment_1", volume)
    kept = np.arange(len(mask)) == SceneSlices(volume).stack.source_index(2)
    assert (mask[~kept] == expected[~kept]).all() and (mask[kept] == before[kept]).all()
    editor.undo()
    assert (mask_of(node, "Segment_1", volume) == before).all()


def test_nothing_found_is_said_and_the_segment_stays(editor) -> None:
    volume = head(make_phantom("validation", 2, "MR", 0))
    node, effect = edit(editor, volume)
    before = np.zeros((3, *slicer.util.arrayFromVolume(volume).shape[1:]), bool)
    before[1, 5:9, 5:9] = True
    paint(node, "Segment_1", volume, before)
    editor.saveStateForUndo()
    assert "Nothing found" in apply(effect)
    assert (mask_of(node, "Segment_1", volume) == before).all()
    assert not segments.tags(node.GetSegmentation().GetSegment("Segment_1"))


@pytest.mark.parametrize("how", ["cancel", "other effect", "other segmentation"])
def test_a_run_is_cancelled(editor, panel, phantom, how) -> None:
    volume = head(phantom)
    node, effect = edit(editor, volume)
    begin(effect)
    assert panel.busy and effect.cancelButton.enabled and not effect.applyButton.enabled
    assert shown(effect, effect.progressBar)
    if how == "cancel":
        effect.cancelButton.click()
    elif how == "other effect":
        editor.setActiveEffectByName("Paint")
    else:
        editor.setSegmentationNode(segments.newSegmentation(volume))
    standin.pump(lambda: not panel.busy, 60)
    assert "Cancelled" in effect.statusLabel.text
    assert not mask_of(node, "Segment_1", volume).any()


def test_the_segment_that_was_selected_gets_the_mask(editor, panel, phantom) -> None:
    volume = head(phantom)
    expected = by_panel(panel, volume, slices=[1])
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    settings = editor.mrmlSegmentEditorNode()
    settings.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    whole = np.ones(expected.shape, bool)
    paint(node, "Segment_1", volume, whole)
    begin(effect)
    editor.setCurrentSegmentID("other")
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert editor.currentSegmentID() == "other" and not mask_of(node, "other", volume).any()
    mask = mask_of(node, "Segment_1", volume)
    assert (mask[1] == expected[1]).all() and mask[[0, 2]].all()


@pytest.mark.parametrize("gone", ["segment", "volume", "another volume"])
def test_nothing_is_written_when_what_was_worked_on_is_gone(editor, phantom, gone) -> None:
    volume = head(phantom)
    node, effect = edit(editor, volume, ("Segment_1", "other"))
    twin = head(phantom)
    begin(effect)
    if gone == "segment":
        editor.setCurrentSegmentID("other")
        node.GetSegmentation().RemoveSegment("Segment_1")
    elif gone == "volume":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        editor.setSourceVolumeNode(twin)
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    said = {"segment": "segment was removed", "volume": "'head' was removed", "another volume": "chosen meanwhile"}
    assert said[gone] in effect.statusLabel.text
    assert not mask_of(node, "other", twin).any()


def test_what_cannot_be_done_is_said(editor, panel, phantom) -> None:
    volume = head(phantom)
    node, effect = edit(editor, volume)
    assert not effect.applyButton.enabled and "Type what the segment is" in effect.applyButton.toolTip
    protect.setLocked(node, "Segment_1", "axial", {1})
    assert "is locked" in apply(effect)
    show(volume, 1)
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").GetSliceToRAS().SetElement(2, 3, 500)
    assert "shows no slice" in apply(effect)
    protect.setLocked(node, "Segment_1", "axial", set())
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.promptEdit.setPlainText(PROMPT)
    show(volume, 1)
    panel.ui.segmentButton.click()
    assert "Another run" in apply(effect)
    panel.ui.cancelButton.click()


def test_enter_applies_and_the_prompt_is_remembered(editor, panel, phantom) -> None:
    volume = head(phantom)
    node, effect = edit(editor, volume)
    assert shown(effect, effect.warningLabel) and "synthetic phantoms" in effect.warningLabel.text
    assert "not for diagnosis" in effect.researchLabel.text
    effect.promptEdit.setText(PROMPT)
    effect.whereBox.setCurrentIndex(1)
    parameters = editor.activeEffect()
    assert parameters.parameter("Prompt") == PROMPT and parameters.parameter("Where") == "view Yellow"
    editor.activeEffect().setParameter("Prompt", "lesion: (left); 100 %")
    editor.activeEffect().setParameter("Where", "view Red")
    assert effect.promptEdit.text == "lesion: (left); 100 %" and effect.whereBox.currentIndex == 0
    effect.promptEdit.setText("")
    assert not effect.applyButton.enabled
    effect.promptEdit.setText(PROMPT)
    standin.unwrap(effect.promptEdit).returnPressed.emit()
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert mask_of(node, "Segment_1", volume).any()
    standin.screenshot(editor, SCREENSHOT)
    volume.SetAttribute(SAMPLE, "MedCLIPSAMBrainMRI")
    editor.setActiveEffectByName("")
    editor.setActiveEffectByName(NAME)
    assert not shown(effect, effect.warningLabel) and effect.promptEdit.text == PROMPT


def test_two_editors_do_not_disturb_each_other(editor, panel, phantom) -> None:
    volume = head(phantom)
    node, effect = edit(editor, volume)
    second = slicer.qMRMLSegmentEditorWidget()
    second.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    second.setMRMLScene(slicer.mrmlScene)
    other, own = edit(second, volume)
    begin(effect)
    assert own is not effect and not own.cancelButton.enabled
    assert "Another run" in apply(own)
    second.setActiveEffectByName("")
    assert panel.busy
    standin.pump(lambda: not effect.cancelButton.enabled, 60)
    assert mask_of(node, "Segment_1", volume).any() and not mask_of(other, "Segment_1", volume).any()
    second.setMRMLSegmentEditorNode(None)
    second.deleteLater()
