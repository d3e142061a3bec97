"""Arguments of scripts to the module's logic: short forms are accepted, and mistakes are refused with a remedy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.scene import PROMPT, TIMEOUT, add_array, add_volume, axial, ids, mask_on
from MedCLIPSAMScene import overlay, segments, segmentTags
from MedCLIPSAMScene.sliceGeometry import SceneSlices

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.volumes.write import write_png


@pytest.fixture
def painted(scene, phantom):
    """A volume, a segmentation with one segment of a slice, and a point inside of it."""
    volume = add_volume(phantom.image, axial())
    node, slices = segments.newSegmentation(volume), SceneSlices(volume)
    segment = segments.addSegment(node, "lesion")
    mask = np.zeros((3, *phantom.image.shape), bool)
    mask[1] = phantom.lesion_mask
    segments.writeMask(node, segment, mask, slices.ijkToRAS)
    rows, columns = np.nonzero(phantom.lesion_mask)
    return volume, node, segment, tuple(slices.toWorld(1, columns[0] + 0.5, rows[0] + 0.5))


def test_a_text_is_one_prompt_and_a_number_one_slice(operations, phantom) -> None:
    volume = add_volume(phantom.image, axial())
    for run in (operations.segment.run, operations.propagate.run):
        result = run(volume, PROMPT, slices=1, timeout=TIMEOUT)
        assert [answer.prompt for answer in result.prompts] == [PROMPT] and result.prompts[0].slices == (1, 1)
    for wrong in (5, [5], None):
        with pytest.raises(PromptError, match="Expected prompts, got"):
            operations.segment.run(volume, wrong, timeout=TIMEOUT)
    for wrong in (1.5, [1.5], "1"):
        with pytest.raises(InputError, match="Expected numbers of slices, got"):
            operations.segment.run(volume, PROMPT, slices=wrong, timeout=TIMEOUT)


def test_a_text_is_one_prompt_of_an_export(operations, phantom, tmp_path) -> None:
    """A text is one prompt, not one for each of its letters."""
    image, out = tmp_path / "head.png", tmp_path / "Dataset101_Head"
    write_png(image, np.repeat(phantom.image[..., None], 3, 2))
    models = ("demo", "demo", "cpu", None)
    result = operations.export.run(str(image), "tumor", str(out), models=models, timeout=TIMEOUT)
    assert result.cases == 1 and result.counts["found"] == 1
    assert json.loads((out / "dataset.json").read_text())["labels"] == {"background": 0, "tumor": 1}


def test_points_without_labels_are_inside(operations, painted) -> None:
    volume, node, segment, point = painted
    operations.refine.run(node, segment, volume, 1, points=[point], timeout=TIMEOUT)
    assert segmentTags.tags(node.GetSegmentation().GetSegment(segment))["MedCLIPSAM.Points"].startswith("+")


def test_a_segment_may_be_named_where_no_other_has_the_name(operations, painted) -> None:
    volume, node, segment, point = painted
    node.GetSegmentation().GetSegment(segment).SetName("GTV 1")
    operations.refine.run(node, "GTV 1", volume, 1, points=[point], timeout=TIMEOUT)
    operations.propagate.runCorrection(node, "GTV 1", volume, reach=1, timeout=TIMEOUT)
    for identifier in (segment, segments.addSegment(node, "another")):
        node.GetSegmentation().GetSegment(identifier).SetName("GTV 2")
    with pytest.raises(InputError, match="several segments named 'GTV 2'"):
        operations.refine.run(node, "GTV 2", volume, 1, points=[point], timeout=TIMEOUT)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": [1, 1]}, r"Expected a label for each point, .* got \[1, 1\]"),
        ({"labels": [2]}, r"Expected a label for each point, .* got \[2\]"),
        ({"points": (1.0, 2.0, 3.0)}, r"Expected points \(R, A, S\) in mm"),
        ({"points": [(1.0, 2.0)]}, r"Expected points \(R, A, S\) in mm"),
        ({"points": [(1.0, 2.0, float("nan"))]}, r"Expected points \(R, A, S\) in mm"),
        ({"number": 99}, "'head' has axial slices 0 to 2"),
        ({"number": -1}, "'head' has axial slices 0 to 2"),
        ({"segmentId": "liver"}, r"has no segment 'liver'. Give the name or ID of one of its segments: lesion \("),
        ({"volumeNode": "head"}, "Expected a volume node, got 'head'"),
        ({"segmentationNode": "head segmentation"}, "Expected a segmentation node, got 'head segmentation'"),
        ({"segmentationNode": None}, "No segmentation was chosen"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_refused_with_what_to_do(operations, painted, given, said) -> None:
    volume, node, segment, point = painted
    before = mask_on(node, segment, volume)
    call = {"segmentationNode": node, "segmentId": segment, "volumeNode": volume, "number": 1, "points": [point]}
    with pytest.raises(InputError, match=said):
        operations.refine.run(**{**call, "labels": [1], **given}, timeout=TIMEOUT)
    assert (mask_on(node, segment, volume) == before).all()


def test_nodes_and_segments_that_are_none_are_refused_everywhere(operations, painted) -> None:
    volume, node, _segment, _point = painted
    with pytest.raises(InputError, match="has no segment 'liver'"):
        operations.propagate.runCorrection(node, "liver", volume, timeout=TIMEOUT)
    for wrong in (lambda: operations.session.undo(None), lambda: operations.addSegment(None, "new")):
        with pytest.raises(InputError, match="No segmentation was chosen"):
            wrong()
    with pytest.raises(InputError, match="Expected a segmentation node"):
        operations.segment.run(volume, PROMPT, volume, timeout=TIMEOUT)
    with pytest.raises(InputError, match="Expected a volume node"):
        operations.segment.run("head", PROMPT, timeout=TIMEOUT)
    assert len(ids(node)) == 1


@pytest.mark.parametrize("name", ["gray & white matter", "mass < 3 cm", 'the "core"', "50% | rim", "ödem"])
def test_a_scene_can_be_loaded_whatever_is_asked_for(scene, tmp_path, name) -> None:
    """The file contains segment IDs and file names, which are node names, without escaping."""
    volume = add_array(np.zeros((3, 8, 8), np.int16), axial())
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "head.nrrd"))
    volume.SetAndObserveStorageNodeID(storage.GetID())
    volume.SetName(name)
    segmentation = segments.newSegmentation(volume)
    editor = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.SetSelectedSegmentID(segments.addSegment(segmentation, name))
    assert segmentation.GetSegmentation().GetNthSegment(0).GetName() == name
    overlay.writeSaliency(SceneSlices(volume), name, {1: np.ones((8, 8), np.float32)})
    (tmp_path / "saved").mkdir()
    scene.SetURL(str(tmp_path / "scene.mrml"))
    chosen, kept = editor.GetSelectedSegmentID(), scene.SaveSceneToSlicerDataBundleDirectory(str(tmp_path / "saved"))
    scene.Clear(False)
    (file,) = (tmp_path / "saved").glob("*.mrml")
    scene.SetURL(str(file))
    assert kept and scene.Connect() and scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentEditorNode").GetSelectedSegmentID() == chosen
    loaded = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetSegmentation()
    assert loaded.GetSegment(chosen).GetName() == name
