"""One prompt for a whole volume, and propagated corrections, on a real scene with a real worker."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
from helpers.scene import PROMPT, TIMEOUT, add_array, add_volume, axial, mask_on, oblique
from MedCLIPSAMScene import protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices, ijkToRAS
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.errors import Cancelled, InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.phantoms.volumes import make_volume


@pytest.fixture(scope="module")
def phantom():
    return make_volume("validation", 4, "MR", 1)


def widest(phantom) -> int:
    return int(phantom.lesion_mask.sum((1, 2)).argmax())


def painted(volume, masks, name: str = "by hand"):
    """A segmentation with one segment painted by hand on some slices: node, segment's id, slices."""
    slices = SceneSlices(volume)
    node = segments.newSegmentation(volume)
    identifier = segments.addSegment(node, name)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, masks))
    return node, identifier, slices


@pytest.mark.parametrize("matrix", [axial((1, 1, 3)), oblique()], ids=["axial", "oblique"])
def test_one_prompt_segments_a_volume_and_one_undo_takes_it_back(operations, phantom, matrix) -> None:
    volume = add_array(phantom.slices, matrix)
    result = operations.propagate.run(volume, [PROMPT], timeout=TIMEOUT)
    (found,) = result.prompts
    mask = mask_on(result.segmentation, found.segmentId, volume)
    assert dsc(mask, phantom.lesion_mask) > 0.6
    assert len(found.boxes) and "Seen on" in found.message and "of 24 slices" in found.message
    tags = segmentTags.tags(result.segmentation.GetSegmentation().GetSegment(found.segmentId))
    assert tags["MedCLIPSAM.Prompt"] == PROMPT and "memory" in segmentTags.tag(
        result.segmentation, found.segmentId, "MedCLIPSAM.Strategy"
    )
    assert operations.session.undo(result.segmentation)
    assert result.segmentation.GetSegmentation().GetNumberOfSegments() == 0


@pytest.mark.parametrize("matrix", [axial((1, 1, 3)), oblique()], ids=["axial", "oblique"])
def test_the_neighbors_follow_a_corrected_slice_in_one_step_of_undo(operations, phantom, matrix) -> None:
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, matrix)
    node, identifier, _slices = painted(volume, {key: truth[key]})
    before = mask_on(node, identifier, volume)
    result = operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)
    after = mask_on(node, identifier, volume)
    assert np.array_equal(after[key], truth[key])  # what was painted stays as it is
    assert dsc(after, truth) > 0.75 and "one corrected slice" in result.text()
    assert operations.session.undo(node) and np.array_equal(mask_on(node, identifier, volume), before)


def test_what_the_user_edited_is_told_from_what_the_models_wrote(operations, phantom) -> None:
    """Slices as the models left them follow; one that was edited, one that was erased, and a locked one stay."""
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, oblique())
    node, identifier, slices = painted(volume, {key: truth[key]})
    operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)
    assert set(protect.own(node, identifier, slices)) == {key}
    mask = mask_on(node, identifier, volume)
    edited = mask[key + 1] & (np.arange(128) % 2 == 0)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {key + 1: edited}))
    end = int(np.flatnonzero(mask.any((1, 2)))[-1])
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {end: np.zeros((128, 128), bool)}))
    protect.setLocked(node, identifier, "axial", {key - 1}, volume)
    own = protect.own(node, identifier, slices)
    assert set(own) == {key - 1, key, key + 1, end}
    assert np.array_equal(own[key + 1], edited) and not own[end].any()
    operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)
    after = mask_on(node, identifier, volume)
    for k in own:
        assert np.array_equal(after[k], own[k])


def test_a_correction_along_another_plane_leaves_what_it_does_not_cross_to_the_models(scene, phantom) -> None:
    volume, mask = add_volume(phantom.slices[0], axial(), slices=9), np.zeros((128, 128), bool)
    mask[30:90, 30:90] = True
    node, identifier, slices = painted(volume, dict.fromkeys(range(9), mask))
    masks = SliceMasks.of(slices, dict.fromkeys(range(9), mask))
    protect.recordWritten(node, identifier, slices, masks.checks)
    coronal = SceneSlices(volume, "coronal")
    corrected = segments.readSlice(node, identifier, coronal, 64)
    stored = SliceMasks.of(coronal, {64: corrected & (np.arange(len(corrected))[:, None] > len(corrected) // 2)})
    protect.writeUnlocked(node, identifier, stored)
    protect.forgetWritten(node, identifier, coronal, stored.checks)
    assert protect.planeOf(node, identifier) == "axial"
    assert 3 < len(protect.own(node, identifier, slices)) < 7


def test_nothing_beyond_the_reach_is_touched(operations, phantom) -> None:
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, _slices = painted(volume, {key: truth[key]})
    operations.propagate.runCorrection(node, identifier, volume, reach=1, timeout=TIMEOUT)
    shown = np.flatnonzero(mask_on(node, identifier, volume).any((1, 2)))
    assert shown.tolist() == [key - 1, key, key + 1]


def test_another_lesion_of_the_segment_is_not_lost(operations, phantom) -> None:
    """The models' mask of something far from the corrected slice stays, though the object ends before it."""
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, slices = painted(volume, {key: truth[key]})
    far = int(np.flatnonzero(truth.any((1, 2)))[-1]) + 4
    elsewhere = np.zeros((128, 128), bool)
    elsewhere[100:110, 20:30] = True
    gathered = SliceMasks.of(slices, {far: elsewhere})
    segments.writeSlices(node, identifier, gathered)
    protect.recordWritten(node, identifier, slices, gathered.checks)
    operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)
    assert np.array_equal(mask_on(node, identifier, volume)[far], elsewhere)


def test_locked_segments_and_slices_are_refused_or_left_alone(operations, phantom) -> None:
    key = widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    result = operations.segment.run(volume, [PROMPT], slices=[key], timeout=TIMEOUT)
    node, identifier = result.segmentation, result.prompts[0].segmentId
    mask = mask_on(node, identifier, volume)
    protect.setLocked(node, identifier, "axial", {key}, volume)
    operations.segment.run(volume, [PROMPT], node, slices=[key], settings={"min_part": 0.9}, timeout=TIMEOUT)
    assert np.array_equal(mask_on(node, identifier, volume), mask)
    with pytest.raises(InputError, match=f"Slice {key}"):
        operations.refine.run(node, identifier, volume, key, timeout=TIMEOUT)
    protect.setLocked(node, identifier, "axial", protect.EVERYTHING, volume)
    with pytest.raises(InputError, match="locked"):
        operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)
    protect.setLocked(node, identifier, "axial", set(), volume)
    assert operations.refine.run(node, identifier, volume, key, timeout=TIMEOUT).found


def test_locked_slices_of_another_voxel_grid_stay(operations, phantom) -> None:
    """Slice 1 of one volume is slice 2 of another that begins a slice below it."""
    image = phantom.slices[widest(phantom)]
    volume = add_volume(image, axial())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    node, identifier = result.segmentation, result.prompts[0].segmentId
    protect.setLocked(node, identifier, "axial", {1}, volume)
    painting = mask_on(node, identifier, volume)
    below = add_volume(image, axial(origin=(60, 70, -24)), slices=4, at=2)
    again = operations.segment.run(below, [PROMPT], node, slices=[2], settings={"min_part": 0.9}, timeout=TIMEOUT)
    assert "stays as it was" in again.text() and "corrected" not in again.text()
    for run in (
        lambda: operations.refine.run(node, identifier, below, 2, timeout=TIMEOUT),
        lambda: operations.propagate.runCorrection(node, identifier, below, timeout=TIMEOUT),
    ):
        with pytest.raises(InputError, match=r"locked on a volume with another voxel grid.* unlock the segment"):
            run()
    assert np.array_equal(mask_on(node, identifier, volume), painting)
    same = add_volume(image, axial(origin=(60, 70, -20.5)))  # resampled to it, but for an eighth of a voxel
    with pytest.raises(InputError, match="Slice 1 of"):
        operations.refine.run(node, identifier, same, 1, timeout=TIMEOUT)
    protect.setLocked(node, identifier, "", set(), below)
    painting[1, 5:20, 5:20] = True
    segments.writeSlices(node, identifier, SliceMasks.of(SceneSlices(volume), {1: painting[1]}))
    once = operations.segment.run(below, [PROMPT], node, slices=[2], timeout=TIMEOUT)
    assert "were made on another volume or along another plane, and were replaced: Undo" in once.text()
    assert not mask_on(node, identifier, below)[2, 5:20, 5:20].any()
    assert "replaced" not in operations.segment.run(below, [PROMPT], node, slices=[2], timeout=TIMEOUT).text()
    assert operations.refine.run(node, identifier, below, 2, timeout=TIMEOUT).found


@pytest.mark.parametrize("both", [True, False], ids=["on both", "on the volume"])
def test_what_is_the_users_stays_so_when_a_transform_is_hardened(scene, phantom, both: bool) -> None:
    volume, mask = add_volume(phantom.slices[0], axial(), slices=5), np.zeros((128, 128), bool)
    mask[3:9, 4:8] = True
    node, identifier, slices = painted(volume, {k: mask for k in range(4)})
    protect.recordWritten(node, identifier, slices, SliceMasks.of(slices, {k: mask for k in range(4)}).checks)
    segments.writeSlices(node, identifier, SliceMasks.of(slices, {1: ~mask}))
    protect.setLocked(node, identifier, "axial", {2}, volume)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = oblique() @ np.diag([1, 1, 1.5, 1])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    for moving in (volume, node) if both else (volume,):
        moving.SetAndObserveTransformNodeID(transform.GetID())
        assert moving.HardenTransform()
    locked = protect.locked(node, identifier, "axial", volume)
    assert locked == {2} if both else locked is protect.ELSEWHERE
    assert not both or set(protect.own(node, identifier, SceneSlices(volume))) == {1, 2}


def test_locked_slices_are_not_those_of_a_volume_that_the_segment_was_resampled_to(scene, phantom) -> None:
    """Both have as many voxels; slice 2 of the other one is 2 mm below that of the first."""
    first, other = (add_volume(phantom.slices[0], axial((1, 1, size)), slices=5) for size in (4, 3))
    node, identifier, _slices = painted(first, {2: np.ones((128, 128), bool)})
    protect.setLocked(node, identifier, "axial", {2}, first)
    segments.writeMask(node, identifier, np.ones((5, 128, 128), bool), ijkToRAS(other))
    assert protect.locked(node, identifier, "axial", first) == {2}
    assert protect.locked(node, identifier, "axial", other) is protect.ELSEWHERE


def meanwhile(operations, start, act):
    """Return the result of a run, before whose end a function is called."""

    def begin(done) -> None:
        start(done)
        act()

    return operations.session.wait(begin, TIMEOUT)


def test_what_is_corrected_during_a_propagation_stays(operations, phantom) -> None:
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, slices = painted(volume, {key: truth[key]})
    own = np.zeros((128, 128), bool)
    own[5:20, 5:20] = True
    write = lambda k, mask: segments.writeSlices(node, identifier, SliceMasks.of(slices, {k: mask}))
    start = lambda done: operations.propagate.startCorrection(node, identifier, slices, None, done)
    meanwhile(operations, start, lambda: write(key + 1, own))
    shown = mask_on(node, identifier, volume)
    assert np.array_equal(shown[key + 1], own) and shown[key - 1].any() and not (shown[key - 1] & own).any()
    with pytest.raises(InputError, match=f"Slice {key} of .* was changed meanwhile.* as it is now"):
        meanwhile(operations, start, lambda: write(key, own))
    after = mask_on(node, identifier, volume)
    assert np.array_equal(after[key], own) and np.array_equal(np.delete(after, key, 0), np.delete(shown, key, 0))
    with pytest.raises(InputError, match="is locked"):
        meanwhile(operations, start, lambda: protect.setLocked(node, identifier, "", protect.EVERYTHING, volume))
    assert np.array_equal(mask_on(node, identifier, volume), after)


def test_what_is_painted_far_away_meanwhile_keeps_no_older_mask_of_the_object(operations, phantom) -> None:
    """Beyond the end of the object the models' older mask is cleared, up to what was painted."""
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, slices = painted(volume, {key: truth[key]})
    older = SliceMasks.of(slices, dict.fromkeys(range(key + 1, 24), truth[key]))
    segments.writeSlices(node, identifier, older)
    protect.recordWritten(node, identifier, slices, older.checks)
    own = np.zeros((128, 128), bool)
    own[5:20, 5:20] = True
    meanwhile(
        operations,
        lambda done: operations.propagate.startCorrection(node, identifier, slices, None, done),
        lambda: segments.writeSlices(node, identifier, SliceMasks.of(slices, {23: own})),
    )
    shown = mask_on(node, identifier, volume)
    assert np.array_equal(shown[23], own) and shown[key + 1].any()
    assert not truth[20:].any() and not shown[20:23].any()


@pytest.mark.parametrize("boxes", [True, False])
def test_what_is_painted_during_a_refinement_is_not_lost(operations, phantom, boxes: bool) -> None:
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, slices = painted(volume, {key: truth[key]})
    painting = truth[key].copy()
    painting[5:20, 5:20] = True
    nothing, box = np.zeros((0, 2), np.float32), {key: np.array([[40, 40, 80, 80]], np.float32)}

    def start(done):
        if boxes:
            return operations.refine.startFromBoxes(node, identifier, slices, box, done)
        return operations.refine.start(node, identifier, slices, key, nothing, nothing[:, 0], finished=done)

    with pytest.raises(InputError, match=f"Slice {key} of .* was changed meanwhile"):
        meanwhile(
            operations,
            start,
            lambda: segments.writeSlices(node, identifier, SliceMasks.of(slices, {key: painting})),
        )
    assert np.array_equal(mask_on(node, identifier, volume)[key], painting)


def test_there_must_be_something_to_follow(operations, phantom) -> None:
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, _slices = painted(volume, {3: np.zeros((128, 128), bool)})
    with pytest.raises(InputError, match="No slice of 'by hand'"):
        operations.propagate.runCorrection(node, identifier, volume, timeout=TIMEOUT)


def test_a_run_on_a_stack_can_be_cancelled_and_leaves_the_next_one_alone(operations, phantom) -> None:
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    ended: list = []
    for _ in range(2):
        operations.propagate.start(volume, [PROMPT], finished=lambda result, error: ended.append(error))
        operations.session.cancel()
    assert [type(error) for error in ended] == [Cancelled, Cancelled]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert operations.propagate.run(volume, [PROMPT], timeout=TIMEOUT).found


def test_what_is_protected_survives_saving_and_loading(operations, phantom, tmp_path) -> None:
    truth, key = phantom.lesion_mask, widest(phantom)
    volume = add_array(phantom.slices, axial((1, 1, 3)))
    node, identifier, _slices = painted(volume, {key: truth[key]})
    operations.propagate.runCorrection(node, identifier, volume, reach=2, timeout=TIMEOUT)
    protect.setLocked(node, identifier, "axial", {key + 2}, volume)
    path = str(tmp_path / "corrected.seg.nrrd")
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(path)
    assert storage.WriteData(node)
    loaded = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert storage.ReadData(loaded)
    (again,) = loaded.GetSegmentation().GetSegmentIDs()
    slices = SceneSlices(volume)
    assert set(protect.own(loaded, again, slices)) == {key, key + 2}
