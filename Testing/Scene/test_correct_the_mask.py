"""A result is corrected as in the Segment Editor: painted and erased by the class its effects use, refined, undone.

Brush strokes and results share the editor's history, as they do in the panel.
"""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial, ids, mask_on, oblique
from MedCLIPSAMScene import protect, segments, segmentTags
from MedCLIPSAMScene.history import SceneHistory
from MedCLIPSAMScene.sliceGeometry import SceneSlices
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.evaluation.metrics import dsc

Editor = slicer.vtkSlicerSegmentEditorLogic


class EditorHistory:
    """The history of the Segment Editor's operations, which its widget passes on."""

    def __init__(self, editor) -> None:
        self.editor = editor

    def save(self, segmentationNode) -> None:
        assert self.editor.GetSegmentationNode() is segmentationNode
        assert self.editor.SaveStateForUndo()

    def undo(self, segmentationNode) -> bool:
        if not self.editor.CanUndo():
            return False
        self.editor.Undo()
        return True


@pytest.fixture
def editor(scene, logics, operations):
    """The operations of a Segment Editor on the scene, whose history the module's operations uses."""
    made = Editor()
    made.SetMRMLApplicationLogic(logics["Application"])
    made.SetMRMLScene(slicer.mrmlScene)
    made.SetMaximumNumberOfUndoStates(10)
    made.SetSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    operations.session.history = EditorHistory(made)
    yield made
    operations.session.history = SceneHistory()
    made.SetSegmentEditorNode(None)


def stroke(editor, node, identifier: str, volume, mask: np.ndarray, erase: bool = False) -> None:
    """Apply one brush stroke on slice 1, as Paint and Erase do when the mouse button is released."""
    slices = SceneSlices(volume)
    image = segments.orientedImage(*slices.slabs({1: mask}), slices.ijkToRAS)
    mode = Editor.ModificationModeRemove if erase else Editor.ModificationModeAdd
    assert editor.SaveStateForUndo()
    editor.ModifySegmentByLabelmap(node, identifier, image, mode, False, True)


def test_paint_erase_refine_and_undo_in_one_sequence(operations, editor, phantom) -> None:
    volume = add_volume(phantom.image, oblique())
    node = segments.newSegmentation(volume)
    editor.SetSegmentationNode(node)
    editor.SetSourceVolumeNode(volume)
    result = operations.segment.run(volume, [PROMPT], node, slices=[1], timeout=TIMEOUT)
    identifier = result.prompts[0].segmentId
    editor.SetCurrentSegmentID(identifier)
    states = [mask_on(node, identifier, volume)]
    wrong = np.zeros_like(phantom.lesion_mask)
    wrong[90:110, 60:80] = True
    stroke(editor, node, identifier, volume, wrong)
    states.append(mask_on(node, identifier, volume))
    assert np.array_equal(states[1][1], states[0][1] | wrong)
    stroke(editor, node, identifier, volume, wrong, erase=True)
    half = phantom.lesion_mask.copy()
    half[:, : round(np.argwhere(half)[:, 1].mean())] = False
    stroke(editor, node, identifier, volume, half, erase=True)
    states.append(mask_on(node, identifier, volume))
    assert not (states[2][1] & half).any()
    rows, columns = np.nonzero(half)
    at = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    inside = SceneSlices(volume).toWorld(1, columns[at] + 0.5, rows[at] + 0.5)
    operations.refine.run(node, identifier, volume, 1, points=[inside], labels=[1], timeout=TIMEOUT)
    refined = mask_on(node, identifier, volume)
    assert dsc(refined[1], phantom.lesion_mask) > dsc(states[2][1], phantom.lesion_mask)
    assert refined[1, rows[at], columns[at]]
    assert "axial slices 1" in segmentTags.tag(node, identifier, "MedCLIPSAM.Corrected")
    assert operations.session.undo(node) and np.array_equal(mask_on(node, identifier, volume), states[2])
    assert operations.session.undo(node) and operations.session.undo(node) and operations.session.undo(node)
    assert np.array_equal(mask_on(node, identifier, volume), states[0])
    assert operations.session.undo(node) and ids(node) == []
    assert not operations.session.undo(node)


def test_correcting_a_segment_leaves_the_others_that_it_overlaps(operations, phantom) -> None:
    """Segments that share a label map in memory, as the Segment Editor makes them."""
    volume = add_volume(phantom.image, axial())
    slices = SceneSlices(volume)
    node = segments.newSegmentation(volume)
    first, second = segments.addSegment(node, "first"), segments.addSegment(node, "second")
    left, right = np.zeros((2, *phantom.image.shape), bool)
    left[40:60, 40:60], right[40:60, 60:80] = True, True
    segments.writeSlices(node, first, SliceMasks.of(slices, {1: left}))
    segments.writeSlices(node, second, SliceMasks.of(slices, {1: right}))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    both = left | right
    segments.writeSlices(node, first, SliceMasks.of(slices, {1: both}))
    assert np.array_equal(segments.readSlice(node, first, slices, 1), both)
    assert np.array_equal(segments.readSlice(node, second, slices, 1), right)
    assert np.array_equal(mask_on(node, second, volume)[1], right)


@pytest.mark.parametrize("painted", (True, False), ids=("painted", "empty"))
def test_what_is_added_to_a_segment_does_not_go_to_one_that_shares_its_label_map(operations, phantom, painted) -> None:
    volume = add_volume(phantom.image, axial())
    slices = SceneSlices(volume)
    node = segments.newSegmentation(volume)
    first, second = segments.addSegment(node, "first"), segments.addSegment(node, "second")
    left, right = np.zeros((2, *phantom.image.shape), bool)
    left[40:60, 40:60], right[40:60, 60:80] = True, True
    segments.writeSlices(node, first, SliceMasks.of(slices, {1: left}))
    if painted:
        segments.writeSlices(node, second, SliceMasks.of(slices, {1: right}))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    segments.writeSlices(node, second, SliceMasks.of(slices, {2: right}))
    assert np.array_equal(segments.readSlice(node, first, slices, 1), left)
    assert not segments.readSlice(node, first, slices, 2).any()
    assert np.array_equal(segments.readSlice(node, second, slices, 2), right)
    assert segments.readSlice(node, second, slices, 1).any() == painted


def test_the_last_segment_in_a_label_map_that_others_have_left_is_added_to(scene, phantom) -> None:
    """As loaded by Slicer, they are labels 1, 2 and 3 of one label map; 3 is alone after the others are edited."""
    volume = add_volume(phantom.image, axial())
    slices, node = SceneSlices(volume), segments.newSegmentation(volume)
    masks = np.zeros((3, *phantom.image.shape), bool)
    names = ["first", "second", "third"]
    for number, name in enumerate(names):
        masks[number, 40:60, 30 * number : 30 * number + 20] = True
        segments.writeSlices(node, segments.addSegment(node, name), SliceMasks.of(slices, {0: masks[number]}))
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    for name, mask in zip(names, masks):
        segments.writeSlices(node, name, SliceMasks.of(slices, {1: mask}))
    for name, mask in zip(names, masks):
        read = mask_on(node, name, volume)
        assert np.array_equal(read[0], mask) and np.array_equal(read[1], mask) and not read[2].any()


@pytest.mark.parametrize("plane", ("axial", "coronal", "sagittal"))
def test_masks_of_scattered_slices_replace_these_slices_only(operations, plane) -> None:
    volume = add_volume(np.zeros((20, 16), np.int16), axial(), slices=12)
    slices = SceneSlices(volume, plane)
    node = segments.newSegmentation(volume)
    identifier = segments.addSegment(node, "scattered")
    rng = np.random.default_rng(3)
    draw = lambda: rng.random(slices.stack.image_shape) < 0.3
    expected = {k: draw() for k in range(len(slices))}
    segments.writeSlices(node, identifier, SliceMasks.of(slices, expected))
    changed = {2: draw(), 3: np.zeros(slices.stack.image_shape, bool), 7: draw(), 8: draw(), 11: ~draw()}
    segments.writeSlices(node, identifier, SliceMasks.of(slices, changed))
    for k, mask in (expected | changed).items():
        shown = segments.readSlice(node, identifier, slices, k)
        assert np.array_equal(shown, slices.stack.from_grid(slices.stack.to_grid({k: mask}), k)), k


def test_a_segmentation_on_another_grid_is_read_in_the_right_place(operations, phantom) -> None:
    """A segment was painted on a volume of half the resolution, and is read on the fine one."""
    fine = add_volume(phantom.image, axial(spacing=(1, 1, 4)))
    coarse_matrix = axial(spacing=(2, 2, 4))
    coarse_matrix[:2, 3] -= 0.5  # voxel corners meet: the first coarse center lies between the first two fine ones
    coarse = add_volume(phantom.image[::2, ::2], coarse_matrix)
    node = segments.newSegmentation(coarse)
    identifier = segments.addSegment(node, "block")
    mask = np.zeros((64, 64), bool)
    mask[10:20, 30:33] = True
    segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(coarse), {1: mask}))
    expected = np.zeros((128, 128), bool)
    expected[20:40, 60:66] = True
    assert np.array_equal(segments.readSlice(node, identifier, SceneSlices(fine), 1), expected)


def test_a_mask_that_is_thinner_than_the_voxels_is_empty(scene, phantom) -> None:
    """A coronal image has rows of the size of its columns, more than the volume has slices."""
    slices = SceneSlices(add_volume(phantom.image, axial(spacing=(1.0, 1.0, 5.0)), slices=40), "coronal")
    for rows, present in ((1, False), (10, True)):
        mask = np.zeros(slices.stack.image_shape, bool)
        mask[20 : 20 + rows, 4:12] = True
        masks = SliceMasks.of(slices, {3: mask})
        assert bool(masks) == (masks.checks[3] != "0") == present


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("matrix", [axial(), oblique()], ids=["axial", "oblique"])
def test_slices_that_were_corrected_and_would_be_changed_are_counted(scene, phantom, matrix, plane) -> None:
    volume = add_volume(phantom.image, matrix, slices=40)
    node, slices = segments.newSegmentation(volume), SceneSlices(volume, plane)
    segment, (height, width) = segments.addSegment(node, PROMPT), slices.stack.image_shape
    mask, other = np.zeros((height, width), bool), np.zeros((height, width), bool)
    mask[3:40, 4:40] = other[20:60, 60:90] = True
    first = SliceMasks.of(slices, dict.fromkeys(range(5, 15), mask))
    second = lambda: SliceMasks.of(slices, dict.fromkeys(range(3, 12), other))
    protect.writeUnlocked(node, segment, first)
    protect.recordWritten(node, segment, first.slices, first.checks)
    assert protect.countCorrected(node, segment, second()) == 0, "the models wrote them"
    # Corrected: one changed, one erased, one painted, one as it is to become, and one beyond the new masks.
    byHand = {6: mask | other, 7: np.zeros_like(mask), 4: mask, 8: other, 13: other}
    segments.writeSlices(node, segment, SliceMasks.of(slices, byHand))
    assert protect.countCorrected(node, segment, second()) == 3
    whole = lambda slices: SliceMasks.of(
        slices, dict.fromkeys(range(len(slices)), np.ones(slices.stack.image_shape, bool))
    )
    across = whole(SceneSlices(volume, "axial" if plane != "axial" else "coronal"))
    assert protect.countCorrected(node, segment, across) is None, "along another plane it is not known"
    moved = matrix.copy()
    moved[:3, 3] -= moved[:3, :3].sum(1)  # by a voxel along each axis
    elsewhere = SceneSlices(add_volume(phantom.image, moved, slices=40), plane)
    assert protect.countCorrected(node, segment, whole(elsewhere)) is None, "nor on another voxel grid"
    nothing = SliceMasks.of(elsewhere, {0: np.zeros((height, width), bool)})
    assert protect.countCorrected(node, segment, nothing) == 0, "where nothing is changed"
