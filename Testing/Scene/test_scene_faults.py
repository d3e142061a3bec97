"""What goes wrong while the scene is worked on: the scene stays as it was, and the user is told."""

from __future__ import annotations

import pytest
import slicer
import slicer.util
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial
from MedCLIPSAMScene import protect, segments
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.errors import Cancelled, InputError, PromptError


def test_what_cannot_be_used_is_refused_with_a_remedy(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    with pytest.raises(PromptError, match="No prompt"):
        operations.segment.run(volume, ["  "])
    with pytest.raises(PromptError, match="twice"):
        operations.segment.run(volume, [PROMPT, "Brain Tumor"])
    with pytest.raises(InputError, match="slices 0 to 2"):
        operations.segment.run(volume, [PROMPT], slices=[3])
    with pytest.raises(InputError, match="No volume"):
        operations.segment.run(None, [PROMPT])
    with pytest.raises(InputError, match="no voxels"):
        operations.segment.run(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"), [PROMPT])
    with pytest.raises(PromptError, match="knows no word"):
        operations.segment.run(volume, ["xylophone"], timeout=TIMEOUT)
    segmentation = segments.newSegmentation(volume)
    empty = segments.addSegment(segmentation, "empty")
    with pytest.raises(InputError, match="no point marks"):
        operations.refine.run(segmentation, empty, volume, 1)


def test_cancel_leaves_the_scene_as_it_was(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(), slices=40)
    ended = []
    operations.segment.start(
        volume,
        [PROMPT],
        slices=range(40),
        finished=lambda *result: ended.append(result),
        progressed=lambda fraction, stage: operations.session.cancel() if fraction > 0.02 else None,
    )
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert isinstance(ended[0][1], Cancelled) and ended[0][0] is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT).found


def test_the_scene_may_be_closed_in_the_middle_of_a_run(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(), slices=40)
    ended = []
    operations.segment.start(
        volume,
        [PROMPT],
        slices=range(40),
        finished=lambda *result: ended.append(result),
        progressed=lambda fraction, stage: slicer.mrmlScene.Clear(False) if fraction > 0.02 else None,
    )
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][0] is None and ended[0][1] is not None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_volume_removed_in_the_middle_of_a_run_is_said(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    ended = []
    operations.segment.start(volume, [PROMPT], slices=[1], finished=lambda *result: ended.append(result))
    slicer.mrmlScene.RemoveNode(volume)
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][0] is None and "was removed" in str(ended[0][1])


def test_a_worker_killed_in_the_middle_of_a_run_is_started_again(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(), slices=40)
    ended = []
    transport = operations.session.transport
    operations.segment.start(
        volume,
        [PROMPT],
        slices=range(40),
        finished=lambda *result: ended.append(result),
        progressed=lambda fraction, stage: transport.process.kill() if fraction > 0.02 else None,
    )
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert "worker process has ended" in str(ended[0][1])
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT).found


def test_tags_of_this_program_that_make_no_sense_are_left_out(operations, phantom) -> None:
    """A scene, or a .seg.nrrd file, may come from elsewhere."""
    volume = add_volume(phantom.image, axial())
    segmentation = segments.newSegmentation(volume)
    segment = segments.addSegment(segmentation, "tumor")
    tags = {
        protect.WRITTEN_TAG: "axial 1=0 x 2 3= =4 -1=0 999999=0 99999999999=0 \u0663=0",
        protect.LOCKED_TAG: "axial 1 x -1 999999; nowhere 2; ;",
    }
    segments.setTags(segmentation, segment, tags)
    assert set(protect.own(segmentation, segment, SceneSlices(volume))) == {1}
    assert protect.locked(segmentation, segment, "axial") == {1, 999999}
    with pytest.raises(InputError, match="Slice 1"):
        protect.requireUnlocked(segmentation, segment, "axial", [0, 1, 2])
    segments.setTags(segmentation, segment, {protect.WRITTEN_TAG: "nowhere 1=0"})
    assert protect.planeOf(segmentation, segment) is None


@pytest.mark.parametrize("begun", [False, True], ids=["before it writes", "halfway"])
def test_a_change_that_fails_leaves_what_was_there_and_its_undo(operations, phantom, begun: bool) -> None:
    """There are two segments: the first change is not undone in place of the one that failed, and still can be."""
    session, node = operations.session, segments.newSegmentation(add_volume(phantom.image, axial()))
    operations.addSegment(node, "first")
    operations.addSegment(node, "second")

    def fail() -> None:
        if begun:
            node.GetSegmentation().RemoveSegment("first")
            segments.addSegment(node, "third")
        raise InputError("Refused.")

    for _ in range(2):
        with pytest.raises(InputError, match="Refused"):
            session.change(node, fail)
        assert list(node.GetSegmentation().GetSegmentIDs()) == ["first", "second"]
    assert session.undo(node)
    assert list(node.GetSegmentation().GetSegmentIDs()) == ["first"]
    assert session.undo(node)
    assert node.GetSegmentation().GetNumberOfSegments() == 0
    assert not session.undo(node)
