"""Failures during work on the scene: the scene stays as it was, and the user is told."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial
from MedCLIPSAMScene import overlay, protect, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.errors import Cancelled, InputError, MedCLIPSAMError, PromptError


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


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda operations, volume: operations.session.cancel(), "Cancelled"),
        (lambda operations, volume: slicer.mrmlScene.Clear(False), "was removed"),
        (lambda operations, volume: slicer.mrmlScene.RemoveNode(volume), "was removed"),
        (lambda operations, volume: operations.session.transport.process.kill(), "worker process has ended"),
    ],
    ids=["cancelled", "scene closed", "volume removed", "worker killed"],
)
def test_what_ends_a_run_leaves_the_scene_as_it_was_and_the_next_one_works(operations, phantom, act, said) -> None:
    volume, ended, acts = add_volume(phantom.image, axial(), slices=40), [], [act]
    operations.segment.start(
        volume,
        [PROMPT],
        slices=range(40),
        finished=lambda *result: ended.append(result),
        progressed=lambda fraction, stage: acts.pop()(operations, volume) if fraction > 0.02 and acts else None,
    )
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    ((result, error),) = ended
    assert result is None and said in f"{type(error).__name__}: {error}"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    again = add_volume(phantom.image, axial())
    assert operations.segment.run(again, [PROMPT], slices=[1], timeout=TIMEOUT).found


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt])
def test_a_script_that_waits_no_longer_has_no_run(operations, phantom, monkeypatch, error: type) -> None:
    volume = add_volume(phantom.image, axial())

    def stop_waiting(_done, _timeout) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(operations.session.transport, "run_until", stop_waiting)
        with pytest.raises(error):
            operations.segment.run(volume, [PROMPT], slices=[1])
    assert operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT).found


def test_tags_of_this_program_that_make_no_sense_are_left_out(operations, phantom) -> None:
    """A scene, or a .seg.nrrd file, may come from elsewhere."""
    volume = add_volume(phantom.image, axial())
    segmentation = segments.newSegmentation(volume)
    segment = segments.addSegment(segmentation, "tumor")
    tags = {
        protect.WRITTEN_TAG: "axial 1=0 x 2 3= =4 -1=0 999999=0 99999999999=0 \u0663=0",
        protect.LOCKED_TAG: "axial 1 x -1 999999; nowhere 2; ;",
        protect.LOCKED_ON_TAG: "1;x; " + "nan;" * 22,
    }
    segmentTags.setTags(segmentation, segment, tags)
    assert set(protect.own(segmentation, segment, SceneSlices(volume))) == {1}
    assert protect.locked(segmentation, segment, "axial", volume) == {1, 999999}
    with pytest.raises(InputError, match="Slice 1"):
        protect.requireUnlocked(segmentation, segment, "axial", [0, 1, 2], volume)
    segmentTags.setTags(segmentation, segment, {protect.WRITTEN_TAG: "nowhere 1=0"})
    assert protect.planeOf(segmentation, segment) is None


@pytest.mark.parametrize("begun", [False, True], ids=["before it writes", "halfway"])
def test_a_change_that_fails_leaves_what_was_there_and_its_undo(operations, phantom, begun: bool) -> None:
    """With two segments, the first change is not undone instead of the failed one, and can still be undone."""
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


BINARY, SURFACE, CONTOUR = "Binary labelmap", "Closed surface", "Planar contour"
GEOMETRY = "Reference image geometry"


def outlined(volume, kind: str):
    """A segmentation whose segment "ball" is stored as a surface, or as a contour as of an RTSTRUCT."""
    ball = vtk.vtkSphereSource() if kind == SURFACE else vtk.vtkRegularPolygonSource()
    ball.SetCenter(*SceneSlices(volume).toWorld(1, 64, 64))
    ball.SetRadius(8)
    ball.Update()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "outlined")
    node.GetSegmentation().SetSourceRepresentationName(kind)
    segment = slicer.vtkSegment()
    segment.SetName("ball")
    segment.AddRepresentation(kind, ball.GetOutput())
    assert node.GetSegmentation().AddSegment(segment, "ball")
    return node


@pytest.mark.parametrize("kind", [SURFACE, CONTOUR])
def test_surfaces_and_contours_are_refused_and_left_alone(operations, phantom, kind: str) -> None:
    """A conversion cannot be undone, and nothing converts contours here: the extension for it is not loaded."""
    volume = add_volume(phantom.image, axial())
    node, slices = outlined(volume, kind), SceneSlices(volume)
    segmentation, boxes = node.GetSegmentation(), {1: np.array([[40, 40, 80, 80]], np.float32)}
    outline = segmentation.GetSegment("ball").GetRepresentation(kind)
    for run in (
        lambda: operations.segment.run(volume, [PROMPT], node),
        lambda: operations.propagate.run(volume, [PROMPT], node),
        lambda: operations.propagate.runCorrection(node, "ball", volume),
        lambda: operations.refine.run(node, "ball", volume, 1),
        lambda: operations.refine.startFromBoxes(node, "ball", slices, boxes),
        lambda: operations.addSegment(node, "another"),
    ):
        with pytest.raises(InputError, match=f"stored as '{kind}'.* create 'Binary labelmap'"):
            run()
        assert segmentation.GetSourceRepresentationName() == kind and operations.session.job is None
        assert segmentation.GetSegment("ball").GetRepresentation(kind) is outline
        assert not segmentation.ContainsRepresentation(BINARY) and segmentation.GetNumberOfSegments() == 1
        assert not segmentation.GetConversionParameter(GEOMETRY)


def test_surfaces_that_the_user_has_converted_are_corrected(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(spacing=(1, 1, 4)))
    node = outlined(volume, SURFACE)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    assert node.GetSegmentation().CreateRepresentation(BINARY)
    node.GetSegmentation().SetSourceRepresentationName(BINARY)
    slices = SceneSlices(volume)
    before = [segments.readSlice(node, "ball", slices, k) for k in range(3)]
    assert before[1].sum() == pytest.approx(np.pi * 8**2, rel=0.2) and before[1][63, 63] and before[2].any()
    operations.refine.run(node, "ball", volume, 1, timeout=TIMEOUT)
    assert np.array_equal(segments.readSlice(node, "ball", slices, 2), before[2])


def test_a_new_segment_is_shown_in_3d_beside_others(operations, phantom, capfd) -> None:
    """With surfaces of the others; Slicer's log of errors stays empty."""
    volume = add_volume(phantom.image, axial())
    node = segments.newSegmentation(volume)
    first = operations.addSegment(node, "first")
    segments.writeMask(node, first, np.ones((3, 9, 9), bool), SceneSlices(volume).ijkToRAS)
    assert node.CreateClosedSurfaceRepresentation()
    capfd.readouterr()
    result = operations.segment.run(volume, [PROMPT], node, slices=[1], timeout=TIMEOUT)
    found = node.GetSegmentation().GetSegment(result.prompts[0].segmentId)
    assert found.GetRepresentation(SURFACE).GetNumberOfPoints() > 0
    assert "ERR" not in capfd.readouterr().err


@pytest.mark.parametrize("chosen", [True, False], ids=["on a grid that the user chose", "without a grid"])
def test_an_empty_segmentation_is_prepared_by_the_result_alone(operations, phantom, chosen: bool) -> None:
    volume, fine = add_volume(phantom.image, axial()), add_volume(phantom.image, axial(spacing=(0.5, 0.5, 2)))
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(SURFACE)
    if chosen:
        node.SetReferenceImageGeometryParameterFromVolumeNode(fine)
    before, ended = segmentation.GetConversionParameter(GEOMETRY), []
    operations.segment.start(volume, [PROMPT], node, slices=[1], finished=lambda *result: ended.append(result))
    operations.session.cancel()
    assert isinstance(ended[0][1], Cancelled) and node.GetTransformNodeID() is None
    assert segmentation.GetConversionParameter(GEOMETRY) == before
    assert segmentation.GetSourceRepresentationName() == SURFACE
    assert operations.segment.run(volume, [PROMPT], node, slices=[1], timeout=TIMEOUT).found
    assert node.GetTransformNodeID() == transform.GetID() and segmentation.GetSourceRepresentationName() == BINARY
    expected = segments.newSegmentation(volume).GetSegmentation().GetConversionParameter(GEOMETRY)
    assert segmentation.GetConversionParameter(GEOMETRY) == (before if chosen else expected)


def moveOrigin(volume, node) -> None:
    volume.SetOrigin(0, 0, 0)


def harden(volume, node) -> None:
    transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 20)
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert volume.HardenTransform()


def crop(volume, node) -> None:
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume)[:, :100].copy())


def transformBoth(volume, node) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    for moved in (volume, node):
        moved.SetAndObserveTransformNodeID(transform.GetID())


def transformSegmentation(volume, node) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetAndObserveTransformNodeID(transform.GetID())


@pytest.mark.parametrize("move", [moveOrigin, harden, crop, transformBoth, transformSegmentation])
@pytest.mark.parametrize("how", ["segment", "propagate", "refine", "correction"])
def test_masks_are_not_written_where_the_volume_no_longer_is(operations, phantom, move, how: str) -> None:
    volume = add_volume(phantom.image, axial())
    slices, node = SceneSlices(volume), segments.newSegmentation(volume)
    identifier = segments.addSegment(node, "tumor")
    segments.writeMask(node, identifier, np.stack([phantom.lesion_mask] * 3), slices.ijkToRAS)
    state, ended, session = segmentTags.tags(node.GetSegmentation().GetSegment(identifier)), [], operations.session
    take = lambda *result: ended.append(result)
    if how == "refine":
        none = np.zeros((0, 2), np.float32), np.zeros(0, np.int32)
        operations.refine.start(node, identifier, slices, 1, *none, finished=take)
    elif how == "correction":
        operations.propagate.startCorrection(node, identifier, slices, finished=take)
    else:
        getattr(operations, how).start(volume, [PROMPT], node, slices=[1], finished=take)
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    move(volume, node)
    session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][0] is None and isinstance(ended[0][1], InputError)
    remedy = "under different transforms" if move is transformSegmentation else "'head' was moved meanwhile"
    assert remedy in str(ended[0][1])
    assert list(node.GetSegmentation().GetSegmentIDs()) == [identifier]
    assert segmentTags.tags(node.GetSegmentation().GetSegment(identifier)) == state
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == before


@pytest.mark.parametrize("voxels", [0.2, 0.3])
@pytest.mark.parametrize("turn", [False, True], ids=["shifted", "turned"])
def test_a_volume_that_a_tracker_shakes_counts_as_unmoved(scene, phantom, voxels: float, turn: bool) -> None:
    """By voxels of 4 mm, or in the last of 128 columns, by an angle of that / 127 at a spacing of 1 mm."""
    volume = add_volume(phantom.image, axial())
    slices, matrix = SceneSlices(volume), axial()
    if turn:
        matrix[1, 0] -= voxels / 127
    else:
        matrix[2, 3] += 4 * voxels
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    if voxels < 0.25:
        slices.requireUnmoved()
    else:
        with pytest.raises(InputError, match=r"'head' was moved meanwhile.*Nothing was written: start again"):
            slices.requireUnmoved()


def test_a_transform_that_moves_volume_and_segmentation_together_may_change_during_a_run(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    transform, matrix = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkMatrix4x4()
    volume.SetAndObserveTransformNodeID(transform.GetID())
    ended = []
    operations.segment.start(volume, [PROMPT], slices=[1], finished=lambda *result: ended.append(result))
    matrix.SetElement(0, 3, 20)
    transform.SetMatrixTransformToParent(matrix)
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    result = ended[0][0]
    assert result.found and result.segmentation.GetTransformNodeID() == transform.GetID()
    mask = segments.readSlice(result.segmentation, result.prompts[0].segmentId, SceneSlices(volume), 1)
    assert (mask & phantom.lesion_mask).sum() > 0.5 * phantom.lesion_mask.sum()


def test_what_a_failed_result_has_added_is_removed(operations, phantom, monkeypatch) -> None:
    volume = add_volume(phantom.image, axial())
    overlay.writeSaliency(SceneSlices(volume), "before", {1: np.ones((128, 128), np.float32)})

    def fail(*_arguments) -> None:
        raise MemoryError("The scene is full.")

    monkeypatch.setattr(protect, "writeUnlocked", fail)
    for run in (operations.segment.run, operations.propagate.run):
        with pytest.raises(MedCLIPSAMError, match="The scene is full"):
            run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
        assert overlay.mapOf(volume, overlay.SALIENCY) is not None
