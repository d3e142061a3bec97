"""Active review in a real scene: an oblique case is opened in its place, corrected, and written on its own voxels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import slicer.util
from MedCLIPSAMScene import overlay, segments
from MedCLIPSAMScene.reviewOperation import ReviewOperation
from MedCLIPSAMScene.sliceGeometry import ijkToRAS

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.export.dataset import write_case, write_description
from MedCLIPSAMLib.export.manifest import Manifest
from MedCLIPSAMLib.nnunet.predict import predict
from MedCLIPSAMLib.nnunet.trust import trusted_cases
from MedCLIPSAMLib.volumes import Segment, read_volume

SHAPE = 6, 20, 24


def oblique(seed: int) -> sitk.Image:
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(0, 900, SHAPE, np.int16))
    turn = np.deg2rad(25)
    axes = np.array([[np.cos(turn), 0, np.sin(turn)], [0, -1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    image.SetDirection(axes.ravel().tolist())
    image.SetSpacing((0.7, 0.9, 4.0))
    image.SetOrigin((-30.0, 42.0, 11.0))
    return image


class FixedEnsemble:
    """A replacement for the trained network that is half sure of a block of voxels in slice 4, and sure of the rest."""

    name, labels = "fixed", {1: "tumor", 2: "edema"}

    def __init__(self, doubt: dict[str, float]) -> None:
        self._doubt = doubt

    def predict(self, volume, context=None):
        probabilities = np.zeros((3, *SHAPE), np.float32)
        probabilities[1, 2:5, 5:10, 5:12] = 1
        probabilities[1, 4, 5:10, 5:12] = 1 - self._doubt[volume.name.removesuffix("_0000")]
        probabilities[0] = 1 - probabilities[1]
        return SimpleNamespace(labels=probabilities.argmax(0).astype(np.uint8), probabilities=probabilities)


@pytest.fixture
def predictions(tmp_path):
    """A dataset of two oblique volumes as written by the export, and the predictions of a network for them."""
    dataset, out = tmp_path / "Dataset021_Heads", tmp_path / "predictions"
    manifest = Manifest(dataset, {"labels": ["tumor", "edema"], "export": {"form": "nnunet"}})
    for number, case in enumerate(("calm", "doubtful")):
        sitk.WriteImage(oblique(number), str(tmp_path / f"{case}.nrrd"))
        volume = read_volume(tmp_path / f"{case}.nrrd")
        empty = np.zeros(SHAPE, bool)
        files = write_case(dataset, case, "nnunet", volume, [Segment("tumor", empty), Segment("edema", empty)])
        manifest.write({"case": case, "image": str(volume.path), "status": "found", "labels": {}, "files": files})
    manifest.close()
    write_description(dataset, "nnunet", ["tumor", "edema"], ["calm", "doubtful"], "MR")
    images = [Case(case, dataset / "imagesTr" / f"{case}_0000.nii.gz", {}) for case in ("calm", "doubtful")]
    predict(images, FixedEnsemble({"calm": 0.1, "doubtful": 0.45}), out, dataset=dataset)
    return dataset, out


def test_a_case_is_opened_corrected_and_trusted(scene, predictions) -> None:
    dataset, out = predictions
    logic = ReviewOperation()
    listed = logic.cases(str(out))
    assert [case.case for case in listed] == ["doubtful", "calm"] and not any(case.trusted for case in listed)
    opened = logic.open(str(out), "doubtful")

    # The volume lies where the file says: a voxel's center by hand, LPS to RAS.
    image = oblique(1)
    i, j, k = 7, 8, 4
    left, posterior, superior = image.TransformIndexToPhysicalPoint((i, j, k))
    assert np.allclose(ijkToRAS(opened.volume) @ (i, j, k, 1), (-left, -posterior, superior, 1), atol=1e-4)
    assert np.array_equal(slicer.util.arrayFromVolume(opened.volume), sitk.GetArrayFromImage(image))
    masks = logic.masks(opened)
    assert masks.keys() == {"tumor", "edema"} and not masks["edema"].any()
    expected = np.zeros(SHAPE, bool)
    expected[2:5, 5:10, 5:12] = True
    assert np.array_equal(masks["tumor"], expected)

    # Unsure is slice 4 alone; the views go to its middle, computed by hand.
    uncertain = overlay.mapOf(opened.volume, overlay.UNCERTAINTY)
    values = slicer.util.arrayFromVolume(uncertain)
    assert values[4, 5:10, 5:12].min() > 50 and values[:4].max() == 0 and values.shape == SHAPE
    assert np.allclose(ijkToRAS(uncertain), ijkToRAS(opened.volume))
    by_hand = ijkToRAS(opened.volume) @ (8, 7, 4, 1)
    assert np.allclose(logic.mostUncertain(opened.volume), by_hand[:3], atol=1e-4)
    assert uncertain.GetDisplayNode().GetColorNode() is not None and uncertain.GetDisplayNode().GetApplyThreshold()

    # A correction ends as label 2 on the dataset's own voxels.
    edema = np.zeros(SHAPE, np.uint8)
    edema[1, 2:4, 3:9] = 1
    segmentation = opened.segmentation.GetSegmentation()
    identifier = segmentation.GetSegmentIdBySegmentName("edema")
    segments.writeMask(opened.segmentation, identifier, edema, ijkToRAS(opened.volume))
    assert logic.save(opened) == 1 and trusted_cases(dataset) == {"doubtful"}
    label = sitk.ReadImage(str(dataset / "labelsTr" / "doubtful.nii.gz"))
    written = sitk.GetArrayFromImage(label)
    assert np.array_equal(written == 1, expected) and np.array_equal(written == 2, edema > 0)
    assert np.allclose(label.GetOrigin(), image.GetOrigin(), atol=1e-4)
    assert np.allclose(label.GetDirection(), image.GetDirection(), atol=1e-5)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(dataset / "replaced" / "doubtful.nii.gz"))).any()
    assert [case.trusted for case in logic.cases(str(out))] == [True, False]

    # Opened again it shows the person's label, not the guess.
    logic.close(opened)
    assert not slicer.mrmlScene.IsNodePresent(opened.volume) and not slicer.mrmlScene.IsNodePresent(uncertain)
    again = logic.masks(logic.open(str(out), "doubtful"))
    assert np.array_equal(again["edema"], edema > 0)


def test_what_does_not_fit_is_refused_and_nothing_is_written(scene, predictions, tmp_path) -> None:
    dataset, out = predictions
    logic = ReviewOperation()
    with pytest.raises(InputError, match="holds no predictions"):
        logic.cases(str(dataset))
    with pytest.raises(InputError, match="no case 'other'"):
        logic.open(str(out), "other")
    opened = logic.open(str(out), "calm")
    before = (dataset / "labelsTr" / "calm.nii.gz").read_bytes()
    segment = opened.segmentation.GetSegmentation().GetNthSegment(0)
    segment.SetName("edema")
    with pytest.raises(InputError, match="Two segments"):
        logic.save(opened)
    segment.SetName("liver")
    with pytest.raises(InputError, match="no label 'liver'"):
        logic.save(opened)
    segment.SetName("tumor")
    slicer.mrmlScene.RemoveNode(opened.segmentation)
    with pytest.raises(InputError, match="no longer in the scene"):
        logic.save(opened)
    assert (dataset / "labelsTr" / "calm.nii.gz").read_bytes() == before and not trusted_cases(dataset)
    request = json.loads((out / "export.json").read_text()) | {"dataset": None}
    (out / "export.json").write_text(json.dumps(request))
    with pytest.raises(InputError, match="belong to no dataset"):
        logic.open(str(out), "calm")
    assert logic.open(str(out), "calm", str(dataset)).dataset == Path(dataset)


@pytest.mark.parametrize(
    ("dtype", "offset", "expected"), [(np.int64, -7, np.int32), (np.uint64, 0, np.int32), (np.int64, 2**40, np.float64)]
)
def test_an_image_of_64_bits_is_opened(scene, predictions, dtype, offset: int, expected) -> None:
    dataset, out = predictions
    values = np.arange(np.prod(SHAPE), dtype=dtype).reshape(SHAPE) + dtype(offset)
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(oblique(0))
    sitk.WriteImage(image, str(dataset / "imagesTr" / "calm_0000.nii.gz"))
    shown = slicer.util.arrayFromVolume(ReviewOperation().open(str(out), "calm").volume)
    assert shown.dtype == expected and np.array_equal(shown, values)


@pytest.mark.parametrize(
    ("where", "fails"),
    [
        (slicer.util, "updateVolumeFromArray"),
        (segments, "newSegmentation"),
        (segments, "writeMask"),
        (overlay, "writeUncertainty"),
    ],
)
def test_a_case_that_cannot_be_opened_leaves_nothing(scene, predictions, monkeypatch, where, fails: str) -> None:
    _, out = predictions
    kept = ReviewOperation().open(str(out), "calm")
    before = scene.GetNumberOfNodes()

    def fail(*_arguments: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(where, fails, fail)
    with pytest.raises(RuntimeError, match="no memory"):
        ReviewOperation().open(str(out), "doubtful")
    assert scene.GetNumberOfNodes() == before and slicer.mrmlScene.IsNodePresent(kept.volume)


@pytest.mark.parametrize("how", ["moved", "transformed", "both transformed", "cropped"])
def test_a_case_that_was_moved_is_not_trusted(scene, predictions, how: str) -> None:
    """The masks would be read at shifted places."""
    dataset, out = predictions
    logic = ReviewOperation()
    opened = logic.open(str(out), "doubtful")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    if how == "moved":
        opened.volume.SetOrigin(0, 0, 0)
    elif how == "cropped":
        slicer.util.updateVolumeFromArray(opened.volume, slicer.util.arrayFromVolume(opened.volume)[1:].copy())
    else:
        opened.volume.SetAndObserveTransformNodeID(transform.GetID())
        if how == "both transformed":
            opened.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(InputError, match="was moved meanwhile"):
        logic.save(opened)
    assert not trusted_cases(dataset)
