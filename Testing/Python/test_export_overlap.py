"""What an export says of labels that overlap, and of finds that it leaves out, as it stands in the files."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from MedCLIPSAMLib.choices import Strategy
from MedCLIPSAMLib.export.cases import Case
from MedCLIPSAMLib.export.job import ExportJob, ExportSettings, LoadedCase, SegmentedCase, write_result
from MedCLIPSAMLib.export.remarks import overlaid
from MedCLIPSAMLib.pipeline.request import ResolvedRequest
from MedCLIPSAMLib.pipeline.volume_result import VolumeResult
from MedCLIPSAMLib.segmentation.result import Result
from MedCLIPSAMLib.volumes import Geometry, SliceStack, Volume

BRAIN = (slice(2, 12), slice(2, 12))  # 100 pixels


@pytest.fixture
def write(tmp_path):
    """Write a case of a slice of 20 x 20 voxels of 1 x 1 x 10 mm, 0.01 ml each, in which the models found masks."""

    def written(found, **settings):
        volume = Volume(np.zeros((1, 20, 20), np.int16), Geometry((0, 0, 0), (1, 1, 10)), modality="CT")
        results = {}
        for label, (part, score) in found.items():
            mask = np.zeros((20, 20), bool)
            mask[part] = score > 0
            results[label] = {0: Result(label, mask, score, "")}
        request = ResolvedRequest(tuple(results), None, (0,), Strategy.SLICES, None)
        result = VolumeResult(SliceStack(volume), request, results, {})
        outcome = SegmentedCase(LoadedCase(volume, {}, 0.0), result, 0.0)
        case = Case("a", tmp_path / "a.nii.gz", {label: label for label in found})
        settings = ExportSettings(**({"form": "nii.gz"} | settings))
        record = write_result(case, outcome, ExportJob(tmp_path, settings, tuple(found)))
        file = tmp_path / record["files"][-1] if record["files"] else None
        return record, None if file is None else sitk.GetArrayFromImage(sitk.ReadImage(str(file)))

    return written


def test_the_manifest_counts_the_voxels_that_the_label_map_has(write):
    half = (slice(2, 12), slice(7, 17))  # 50 of its 100 pixels are in the brain
    record, array = write({"tumor": (half, 0.5), "brain": (BRAIN, 0.9)})
    assert (array == 1).sum() == 50 and (array == 2).sum() == 100
    assert {name: about["voxels"] for name, about in record["labels"].items()} == {"tumor": 50, "brain": 100}
    assert [*record["labels"]] == ["tumor", "brain"] and record["labels"]["tumor"]["size"] == 0.5
    assert record["notes"] == ["'tumor' overlaps 'brain': the label map gives 50 of 100 voxels to the surer one."]
    record, array = write({"tumor": (half, 0.5), "brain": (BRAIN, 0.9)}, min_ml=0.6)
    assert record["labels"]["tumor"]["status"] == "filtered" and not (array == 1).any()
    # What a filter leaves out takes no voxel from others, and a segmentation of Slicer keeps overlaps.
    whole = {"tumor": (half, 0.5), "brain": ((slice(0, 20), slice(0, 20)), 0.9)}
    record, array = write(whole, max_ml=1.0)
    assert record["labels"]["tumor"]["voxels"] == 100 == (array == 1).sum() and record["notes"] == []
    record, _ = write({"tumor": (half, 0.5), "brain": (BRAIN, 0.9)}, min_score=0.6)
    assert record["labels"]["tumor"]["voxels"] == 100 and record["notes"] == []
    record, _ = write({"tumor": (half, 0.5), "brain": (BRAIN, 0.9)}, form="seg.nrrd")
    assert record["labels"]["tumor"]["voxels"] == 100 and record["notes"] == []


def test_a_label_that_vanished_wholly_is_filtered_and_said(write):
    record, array = write({"tumor": ((slice(4, 6), slice(4, 6)), 0.5), "brain": (BRAIN, 0.9)})
    about = record["labels"]["tumor"]
    assert record["status"] == "found" and (about["status"], about["voxels"], about["size"]) == ("filtered", 0, 0.0)
    assert record["notes"] == ["'tumor' overlaps 'brain': the label map gives 4 of 4 voxels to the surer one."]
    assert overlaid([record]) == ["'tumor' has no voxel left in 1 case: labels with higher scores cover it completely."]


def test_only_what_is_empty_is_kept_as_empty(write):
    record, array = write({"tumor": (BRAIN, 0.3)}, keep_empty=True, min_score=0.5)
    assert record["status"] == "filtered" and record["files"] == [] and array is None
    record, array = write({"tumor": (BRAIN, 0.0)}, keep_empty=True, min_score=0.5)
    assert record["status"] == "empty" and not array.any()
