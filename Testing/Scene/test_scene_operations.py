"""The module's operations on a real MRML scene, with the real worker process and the demo models."""

from __future__ import annotations

import gc
import json
import shutil

import numpy as np
import pytest
import slicer
import slicer.util
import torch
import vtk
from helpers.scene import PROMPT, TIMEOUT, add_volume, axial, ids, mask_on, oblique
from MedCLIPSAMScene import overlay, segments, segmentTags
from MedCLIPSAMScene.history import SceneHistory
from MedCLIPSAMScene.sliceGeometry import SceneSlices, shownSlice
from MedCLIPSAMScene.sliceMasks import SliceMasks

from MedCLIPSAMLib.errors import InputError, ModelError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.feature_statistics import STATISTICS, FeatureStatistics
from MedCLIPSAMLib.models.store import find, find_model_folder
from MedCLIPSAMLib.phantoms.dataset import make_phantom


@pytest.mark.parametrize("matrix", [axial(), oblique()], ids=["axial", "oblique"])
def test_a_prompt_becomes_a_segment_in_the_right_place(operations, phantom, matrix) -> None:
    volume = add_volume(phantom.image, matrix)
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    (found,) = result.prompts
    assert found.found and found.score > 0.5 and PROMPT in found.message and result.device == "cpu"
    mask = mask_on(result.segmentation, found.segmentId, volume)
    assert not mask[0].any() and not mask[2].any()
    assert dsc(mask[1], phantom.lesion_mask) > 0.6
    segment = result.segmentation.GetSegmentation().GetSegment(found.segmentId)
    assert segment.GetName() == PROMPT
    tags = segmentTags.tags(segment)
    assert (
        tags["MedCLIPSAM.Model"] == "demo"
        and tags["MedCLIPSAM.Prompt"] == PROMPT
        and "steps" in tags["MedCLIPSAM.Settings"]
    )
    assert "SCT^4147007^Mass" in segment.GetTerminology()


def test_the_modality_of_a_volume_from_dicom_reaches_the_models(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    settings = []
    for modality in ("", "MR"):
        hierarchy.SetItemAttribute(item, "DICOM.Modality", modality)  # as Slicer's DICOM module does
        for run in (operations.segment.run, operations.propagate.run):
            result = run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
            (segment,) = ids(result.segmentation)
            tags = segmentTags.tags(result.segmentation.GetSegmentation().GetSegment(segment))
            settings.append(json.loads(tags["MedCLIPSAM.Settings"]))
    assert [found.get("modality") for found in settings] == [None, None, "MR", "MR"]


def test_images_unlike_what_the_model_has_seen_are_told_once_for_all_slices(operations, phantom, tmp_path) -> None:
    folder = tmp_path / "demo-clip"
    shutil.copytree(find_model_folder(find("demo", "clip")), folder)
    width = load_clip("demo").encode_text(["a tumor"]).shape[1]
    known = FeatureStatistics(("another world",), torch.zeros(1, width), torch.eye(width), torch.full((1,), 0.1))
    known.write(folder / STATISTICS)
    operations.session.models = ("demo", "demo", "cpu", str(tmp_path))
    result = operations.segment.run(
        add_volume(phantom.image, axial()), [PROMPT, "ventricles"], slices=[0, 1, 2], timeout=TIMEOUT
    )
    assert [notice for notice in result.allNotes if "unlike" in notice] == [
        "This image looks unlike what 'demo' has seen (another world): check the mask with care."
    ]


def test_models_are_loaded_again_after_a_fine_tuning(operations, phantom, tmp_path, monkeypatch) -> None:
    """Its model may have the name of the one that is loaded."""
    volume, loads = add_volume(phantom.image, axial()), []
    run = lambda: operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    load = operations.session.client.load
    run()
    monkeypatch.setattr(operations.session.client, "load", lambda *models: loads.append(models) or load(*models))
    run()
    assert loads == []
    with pytest.raises(ModelError, match="cannot be the name"):
        operations.fineTune.run(str(tmp_path / "captions.csv"), "Mine!", base="demo", timeout=TIMEOUT)
    run()
    run()
    assert loads == [operations.session.models]


def test_an_image_that_vtk_has_cropped_is_segmented_in_its_place(operations, phantom) -> None:
    """Its voxels are counted from those of the whole image on. The first one is at R 60 - 10, A 70 - 20, S -20 + 4."""
    cropped, crop = add_volume(phantom.image, axial()), vtk.vtkImageClip()
    crop.SetInputData(cropped.GetImageData())
    crop.SetOutputWholeExtent(10, 120, 20, 125, 1, 2)
    crop.ClipDataOn()
    crop.Update()
    cropped.SetAndObserveImageData(crop.GetOutput())
    other = add_volume(phantom.image[20:126, 10:121], axial(origin=(50, 50, -16)), slices=2, at=0)
    masks = []
    for volume in (cropped, other):
        result = operations.segment.run(volume, [PROMPT], slices=[0], timeout=TIMEOUT)
        masks.append(mask_on(result.segmentation, result.prompts[0].segmentId, other))
    assert masks[1].any() and np.array_equal(*masks)


def test_rows_and_columns_may_be_flipped(operations, phantom) -> None:
    """The same head stored upside down and mirrored is segmented as well, in its own place."""
    flipped = axial()
    flipped[:3, :2] *= -1
    volume = add_volume(phantom.image[::-1, ::-1], flipped)
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)
    assert dsc(mask[1][::-1, ::-1], phantom.lesion_mask) > 0.6


def test_a_transform_on_the_volume_moves_the_segment_with_it(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(
        slicer.util.vtkMatrixFromArray(np.array([[1, 0, 0, 5.0], [0, 1, 0, -7], [0, 0, 1, 9], [0, 0, 0, 1]]))
    )
    volume.SetAndObserveTransformNodeID(transform.GetID())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    assert result.segmentation.GetTransformNodeID() == transform.GetID()
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)
    assert dsc(mask[1], phantom.lesion_mask) > 0.6
    # The grid that it is edited on is the volume's, in the coordinates that both have in common.
    segmentation, grid = result.segmentation.GetSegmentation(), slicer.vtkOrientedImageData()
    geometry = segmentation.GetConversionParameter("Reference image geometry")
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, grid, False)
    matrix = vtk.vtkMatrix4x4()
    grid.GetImageToWorldMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), axial())
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    segments.addSegment(other, "anything")
    with pytest.raises(InputError, match="different transforms"):
        operations.segment.run(volume, [PROMPT], other, slices=[1], timeout=TIMEOUT)
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    grid.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    volume.SetAndObserveTransformNodeID(grid.GetID())
    with pytest.raises(InputError, match="non-linear transform 'warp'"):
        operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)


def test_several_prompts_give_several_segments_and_undo_takes_all_back(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    segmentation = segments.newSegmentation(volume, "mine")
    before = segments.addSegment(segmentation, "by hand")
    result = operations.segment.run(volume, [PROMPT, "brain"], segmentation, slices=[1], timeout=TIMEOUT)
    assert [answer.prompt for answer in result.prompts] == [PROMPT, "brain"]
    assert len(ids(segmentation)) == 1 + sum(answer.found for answer in result.prompts) >= 2
    assert operations.session.undo(segmentation)
    assert ids(segmentation) == [before]
    assert not operations.session.undo(segmentation)


def test_a_segment_that_was_written_is_in_progress(scene, phantom) -> None:
    """Its status is what the Segment Editor's list shows; a person's own choice stays."""
    logic, volume = slicer.vtkSlicerSegmentationsModuleLogic, add_volume(phantom.image, axial())
    node, slices, made = segments.newSegmentation(volume), SceneSlices(volume), {}
    empty, mask = np.zeros(phantom.image.shape, bool), np.zeros(phantom.image.shape, bool)
    mask[3:9, 4:8] = True
    for name in ("empty", "slices", "whole", "done"):
        identifier = segments.addSegment(node, name)
        made[name] = node.GetSegmentation().GetSegment(identifier)
        if name == "done":
            logic.SetSegmentStatus(made[name], logic.Completed)
        if name == "whole":
            segments.writeMask(node, identifier, np.stack([empty, mask, empty]), slices.ijkToRAS)
        else:
            segments.writeSlices(node, identifier, SliceMasks.of(slices, {1: empty if name == "empty" else mask}))
    assert {name: logic.GetSegmentStatus(segment) for name, segment in made.items()} == {
        "empty": logic.NotStarted,
        "slices": logic.InProgress,
        "whole": logic.InProgress,
        "done": logic.Completed,
    }


def test_the_history_holds_no_segmentation_that_was_removed(scene, phantom) -> None:
    history, gone, volume = SceneHistory(), [], add_volume(phantom.image, axial())
    removed, kept = (segments.newSegmentation(volume) for _ in range(2))
    for node in (removed, kept):
        history.save(node)
        segments.addSegment(node, "first")
    removed.GetSegmentation().AddObserver("DeleteEvent", lambda *_event: gone.append(True))
    scene.RemoveNode(removed)
    del removed, node
    history.save(kept)
    gc.collect()
    assert gone
    segments.addSegment(kept, "second")
    assert history.undo(kept) and ids(kept) == ["first"]


def test_the_same_prompt_on_another_slice_keeps_the_first(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(), slices=4)
    array = slicer.util.arrayFromVolume(volume)
    array[3] = phantom.image
    slicer.util.arrayFromVolumeModified(volume)
    first = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    second = operations.segment.run(volume, [PROMPT], first.segmentation, slices=[3], timeout=TIMEOUT)
    assert ids(first.segmentation) == [second.prompts[0].segmentId]
    mask = mask_on(first.segmentation, second.prompts[0].segmentId, volume)
    assert np.array_equal(mask[1], mask[3]) and mask[1].any() and not mask[2].any()
    operations.session.undo(first.segmentation)
    assert not mask_on(first.segmentation, second.prompts[0].segmentId, volume)[3].any()


def test_nothing_found_is_said_and_nothing_is_added(operations) -> None:
    volume = add_volume(make_phantom("validation", 2, "MR", 0).image, axial())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    assert not result.found and result.segmentation is None and "Nothing found" in result.text()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_whole_volume_is_segmented_slice_by_slice(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial(), slices=5, at=3)
    progress = []
    result = operations.segment.run(
        volume,
        [PROMPT],
        slices=range(len(SceneSlices(volume))),
        progressed=lambda fraction, stage: progress.append((fraction, stage)),
        timeout=TIMEOUT,
    )
    (found,) = result.prompts
    assert found.slices[1] == 5 and found.bestSlice == 3
    assert "of 5 slices" in found.message
    assert [fraction for fraction, _ in progress] == sorted(fraction for fraction, _ in progress)
    assert any("slice 4 of 5" in text for _, text in progress)


def test_the_saliency_map_lies_where_the_image_does(operations) -> None:
    phantom = make_phantom("validation", 5, "MR", 1)
    volume = add_volume(phantom.image, oblique())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    node = overlay.mapOf(volume, overlay.SALIENCY)
    array = slicer.util.arrayFromVolume(node)
    assert array.shape == (1, *phantom.image.shape) and array.max() == 100
    brightest = np.argwhere(array[0] == 100)[0]
    lesion = phantom.lesion_mask
    assert lesion[tuple(brightest)]
    assert array[0][lesion].mean() > 3 * array[0][~lesion].mean()
    matrix, own = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    node.GetRASToIJKMatrix(own)
    ras = matrix.MultiplyPoint((brightest[1], brightest[0], 1, 1))
    assert own.MultiplyPoint(ras)[:3] == pytest.approx((brightest[1], brightest[0], 0), abs=1e-4)
    assert result.prompts[0].boxes.shape[1] == 4


def test_every_map_has_a_name_and_so_a_file_of_its_own(scene, phantom) -> None:
    """Slicer saves hidden nodes into files named by them; two of the volumes have one name."""
    volumes = [add_volume(phantom.image, axial()) for _ in range(3)]
    volumes[2].SetName("neck")
    maps = {1: np.ones(phantom.image.shape, np.float32)}
    write = {
        "saliency": lambda node, prompt: overlay.writeSaliency(SceneSlices(node), prompt, maps),
        "vote": lambda node, prompt: overlay.writeVote(SceneSlices(node), prompt, maps),
        "ensemble": lambda node, _: overlay.writeUncertainty(node, np.zeros((3, *phantom.image.shape), np.float32)),
    }
    for kind, make in write.items():
        names = [make(volume, PROMPT).GetName() for volume in volumes]
        assert len(set(names)) == 3 and "neck" in names[2], kind
        assert [make(volume, PROMPT).GetName() for volume in volumes] == names, "the same map keeps its name"
        assert kind == "ensemble" or make(volumes[0], "edema").GetName() not in names


def test_the_uncertainty_of_a_vote_lies_where_its_masks_disagree(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    vote = {"vote": {"method": "mean"}}
    result = operations.segment.run(volume, [PROMPT], slices=[0, 1], settings=vote, timeout=TIMEOUT)
    uncertain = slicer.util.arrayFromVolume(overlay.mapOf(volume, overlay.VOTE))
    assert uncertain.shape == (2, *phantom.image.shape) and not uncertain[0].any()  # nothing was found there
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)[1]
    assert 0 < (uncertain[1] > 0).sum() < 2 * mask.sum() and uncertain[1][phantom.lesion_mask].mean() > 1
    operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    assert overlay.mapOf(volume, overlay.VOTE) is None and overlay.mapOf(volume, overlay.SALIENCY) is not None
    disagree = np.zeros((2, *phantom.image.shape), np.float32)
    disagree[1, 5, 7] = 0.918  # one of three masks
    node = overlay.writeVote(SceneSlices(volume), PROMPT, {1: disagree[0], 2: disagree[1]})
    own = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(own)
    place = own.MultiplyPoint((60 - 7, 70 - 5, -20 + 2 * 4, 1))
    assert place[:3] == pytest.approx((7, 5, 1)) and slicer.util.arrayFromVolume(node)[1, 5, 7] == 92
    operations.propagate.run(volume, [PROMPT], slices=[1], settings=vote, timeout=TIMEOUT)
    assert overlay.mapOf(volume, overlay.VOTE) is None


@pytest.mark.parametrize("matrix", [axial(), oblique()], ids=["axial", "oblique"])
def test_the_slice_shown_in_a_view_is_found(scene, phantom, matrix) -> None:
    volume = add_volume(phantom.image, matrix, slices=9)
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetName("Red")
    view.SetOrientationToAxial()
    middle = (matrix @ (63.5, 63.5, 6, 1))[:3]
    view.GetSliceToRAS().SetElement(0, 3, middle[0])
    view.GetSliceToRAS().SetElement(1, 3, middle[1])
    view.GetSliceToRAS().SetElement(2, 3, middle[2])
    view.UpdateMatrices()
    assert shownSlice(volume, view) == ("axial", 6)
    view.SetOrientationToSagittal()
    plane, number = shownSlice(volume, view)
    assert plane == "sagittal" and abs(number - 63.5) < 3
    view.SetOrientationToAxial()
    view.GetSliceToRAS().SetElement(2, 3, 5000)
    view.UpdateMatrices()
    with pytest.raises(InputError, match="shows no slice"):
        shownSlice(volume, view)


@pytest.mark.parametrize("pan", [(0, 0), (30, -25)])
def test_of_slices_that_a_view_crosses_it_is_the_one_in_its_middle(scene, phantom, pan) -> None:
    """An axial view of an oblique scan, whose middle is voxel (20, 100, 6)."""
    volume = add_volume(phantom.image, oblique(), slices=14)
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientationToAxial()
    toRAS = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, :3]
    for row, value in enumerate((oblique() @ (20, 100, 6, 1))[:3] - toRAS @ (*pan, 0)):
        view.GetSliceToRAS().SetElement(row, 3, value)
    view.SetXYZOrigin(*pan, 0)
    assert shownSlice(volume, view) == ("axial", 6)


def test_an_rgb_image_is_segmented_in_color(operations) -> None:
    phantom = next(made for made in (make_phantom("validation", index, "US", 1) for index in range(9)))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "ultrasound")
    slicer.util.updateVolumeFromArray(node, np.repeat(phantom.image[None, ..., None], 3, axis=3))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    result = operations.segment.run(node, ["breast tumor"], timeout=TIMEOUT)
    assert result.prompts[0].found
    assert dsc(mask_on(result.segmentation, result.prompts[0].segmentId, node)[0], phantom.lesion_mask) > 0.5


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".mrb"])
def test_a_result_survives_being_saved_and_loaded(operations, phantom, tmp_path, suffix) -> None:
    volume = add_volume(phantom.image, oblique())
    result = operations.segment.run(volume, [PROMPT], slices=[1], timeout=TIMEOUT)
    mask = mask_on(result.segmentation, result.prompts[0].segmentId, volume)
    tags = segmentTags.tags(result.segmentation.GetSegmentation().GetNthSegment(0))
    path = tmp_path / f"result{suffix}"
    if suffix == ".mrb":
        assert slicer.mrmlScene.WriteToMRB(str(path), None)
        slicer.mrmlScene.Clear(False)
        assert slicer.mrmlScene.ReadFromMRB(str(path), True)
        loaded = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
        volume = next(
            node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetName() == "head"
        )
    else:
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.WriteData(result.segmentation)
        loaded = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        assert storage.ReadData(loaded)
    (identifier,) = ids(loaded)
    assert np.array_equal(mask_on(loaded, identifier, volume), mask)
    assert segmentTags.tags(loaded.GetSegmentation().GetSegment(identifier)) == tags


@pytest.mark.parametrize("how", ["segment", "propagate"])
def test_masks_may_be_taken_without_being_written(operations, phantom, how) -> None:
    volume = add_volume(phantom.image, axial())
    options = {"slices": [1]} if how == "segment" else {}
    run = getattr(operations, how)
    written = run.run(volume, [PROMPT], timeout=TIMEOUT, **options)
    expected = mask_on(written.segmentation, written.prompts[0].segmentId, volume)
    slicer.mrmlScene.RemoveNode(written.segmentation)
    ended, before = [], slicer.mrmlScene.GetNumberOfNodes()

    def write(found):
        assert found and list(found.answers) == [PROMPT]
        return found.sceneResult(None, [found.promptResult(PROMPT, None)]), found

    def wait(finished):
        return run.start(volume, [PROMPT], write=write, finished=finished, **options)

    result, found = operations.session.wait(wait, TIMEOUT)
    (one,) = result.prompts
    assert one.message == written.prompts[0].message and one.score == written.prompts[0].score and one.segmentId is None
    mask = np.zeros(expected.shape, bool)
    for _covered, block, (i, j, k) in found.masks[PROMPT].runs():
        mask[k : k + block.shape[0], j : j + block.shape[1], i : i + block.shape[2]] |= block > 0
    assert (mask == expected).all() and slicer.mrmlScene.GetNumberOfNodes() == before

    def refuse(_found):
        raise InputError("It may not be written.")

    run.start(volume, [PROMPT], write=refuse, finished=lambda *end: ended.append(end), **options)
    operations.session.transport.run_until(lambda: bool(ended), TIMEOUT)
    assert ended[0][0] is None and "may not be written" in str(ended[0][1])
