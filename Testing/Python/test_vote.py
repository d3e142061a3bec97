"""One mask from several: votes by hand, and the uncertainty that a segmenter gives with the mask."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from MedCLIPSAMLib.checkpoints import CheckpointFolder
from MedCLIPSAMLib.choices import VoteMethod
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings
from MedCLIPSAMLib.segmentation.result import SliceResult
from MedCLIPSAMLib.segmentation.result_arrays import load_results, store_results
from MedCLIPSAMLib.segmentation.sam_prompts import SamPrompts, SamPromptSettings
from MedCLIPSAMLib.segmentation.vote import VoteSettings, compute_vote_entropy, count_votes, list_ways_of_asking
from MedCLIPSAMLib.worker.fields import write_part

MASKS = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[1, 1, 1, 0]]], bool)


def test_the_mean_counts_each_mask_once():
    found = count_votes(MASKS, VoteMethod.MEAN, np.zeros((1, 4), np.float32))
    assert found.dtype == np.float32 and found.tolist() == [pytest.approx([1, 2 / 3, 1 / 3, 0])]


def test_the_map_weighs_masks_by_their_overlap_with_it():
    """The map holds 1, 1, 0, 0: overlaps of 2/2, 1/2 and 2/3."""
    found = count_votes(MASKS, VoteMethod.MAP, np.array([[1, 1, 0, 0]], np.float32))
    total = 1 + 1 / 2 + 2 / 3
    assert found.tolist() == [pytest.approx([1, (1 + 2 / 3) / total, (2 / 3) / total, 0])]
    empty = count_votes(MASKS, VoteMethod.MAP, np.zeros((1, 4), np.float32))
    assert empty.tolist() == [pytest.approx([1, 2 / 3, 1 / 3, 0])], "a map that says nothing weighs all alike"


def test_staple_believes_those_who_agree():
    disc = np.hypot(*(np.mgrid[:40, :40] - 20)) < 9
    stray = np.zeros_like(disc)
    stray[30:, 30:] = True
    found = count_votes(np.stack([disc, disc, stray]), VoteMethod.STAPLE, disc.astype(np.float32))
    assert np.array_equal(found > 0.5, disc)
    for masks in (np.stack([disc] * 3), np.zeros((3, 8, 8), bool)):
        assert np.array_equal(count_votes(masks, VoteMethod.STAPLE, masks[0].astype(np.float32)), masks[0])


def test_the_uncertainty_is_the_entropy_in_bits():
    found = compute_vote_entropy(np.array([[0, 0.25, 0.5, 1]], np.float32))
    assert found.dtype == np.float32 and found.tolist() == [pytest.approx([0, 0.811278, 1, 0], abs=1e-5)]


def test_an_object_is_asked_for_by_its_box_a_wider_one_and_with_points():
    prompts = SamPrompts(np.array([[10, 20, 20, 60], [0, 0, 8, 4]], np.float32))
    inside = np.full((2, 3, 2), 5.0)
    ways = list_ways_of_asking(prompts, inside, VoteSettings("mean", margin=0.2), (64, 64))
    assert len(ways) == 3 and np.array_equal(ways[0][0], prompts.boxes) and ways[0][1] is None
    assert ways[1][0].tolist() == [[9, 16, 21, 64], [0, 0, pytest.approx(8.8), pytest.approx(4.4)]]
    assert ways[2][1].shape == (2, 3, 2) and (ways[2][2] == 1).all()
    assert len(list_ways_of_asking(prompts, inside, VoteSettings("mean", margin=0, points=0), (64, 64))) == 1


def segment_brain_tumor(segmenter, **changes):
    segmenter.set_image(to_rgb(TASKS["mri_tumour"].phantom("validation", 3)))
    return segmenter.with_settings(replace(segmenter.settings, **changes)).segment("brain tumor")


def test_where_all_masks_agree_nothing_is_uncertain(segmenter):
    """Also not along the outline, where a vote that is enlarged lies between 0 and 1: both boxes are the same one."""
    found = segment_brain_tumor(segmenter, vote=VoteSettings("mean", margin=1e-9, points=0))
    assert found.found and not found.uncertainty.any()


@pytest.mark.parametrize(
    "changes",
    [
        {"vote": VoteSettings("mean", margin=0, points=0)},
        {"vote": VoteSettings("map"), "prompts": SamPromptSettings(kind="points")},
    ],
)
def test_one_mask_alone_is_no_vote_and_has_no_uncertainty(segmenter, changes):
    found = segment_brain_tumor(segmenter, **changes)
    assert found.found and found.uncertainty is None


def test_where_nothing_is_found_nothing_is_uncertain(segmenter):
    """A program that asked for a vote gets a map from every image."""
    segmenter.set_image(to_rgb(TASKS["us_tumour"].phantom("validation", 3)))
    voting = segmenter.with_settings(replace(segmenter.settings, vote=VoteSettings("mean"), presence_threshold=1.0))
    for prompt in ("brain tumor", "no tumor"):
        found = voting.segment(prompt)
        assert not found.found
        assert found.uncertainty.shape == found.mask.shape and found.uncertainty.dtype == np.float32
        assert not found.uncertainty.any()
    doubting = AgreementSettings(min_iou_in_doubt=1.0, certain=1.0)
    doubted = segment_brain_tumor(segmenter, vote=VoteSettings("mean"), agreement=doubting)
    assert "SAM 2 sees another object" in doubted.message and not doubted.found and doubted.expected_dsc is None
    assert not doubted.uncertainty.any(), "though the masks that are not believed differ"


@pytest.mark.parametrize("method", ["mean", "staple", "map"])
def test_a_vote_gives_a_mask_and_where_the_masks_disagree(segmenter, method):
    task = TASKS["mri_tumour"]
    phantom = task.phantom("validation", 3)
    segmenter.set_image(to_rgb(phantom))
    plain = segmenter.segment(task.prompt)
    assert plain.uncertainty is None
    voting = segmenter.with_settings(replace(segmenter.settings, vote=VoteSettings(method, several=False)))
    found = voting.segment(task.prompt)
    assert dsc(found.mask, phantom.lesion_mask) > 0.7
    shown = found.uncertainty
    assert shown.shape == found.mask.shape and shown.dtype == np.float32 and 0 <= shown.min() and shown.max() <= 1
    assert shown.max() > 0.5 and shown[0, 0] < 1e-6, "far from the object all agree"
    assert np.array_equal(voting.segment(task.prompt).mask, found.mask), "the points are the same at every call"


def test_the_uncertainty_is_in_a_workers_answer_and_in_checkpoints(tmp_path, segmenter):
    phantom = TASKS["mri_tumour"].phantom("validation", 3)
    segmenter.set_image(to_rgb(phantom))
    voting = segmenter.with_settings(replace(segmenter.settings, vote=VoteSettings("mean")))
    results = {name: one.segment("brain tumor") for name, one in (("voted", voting), ("plain", segmenter))}
    parts = {name: write_part(SliceResult(0, result, 1.0), False, True)[1] for name, result in results.items()}
    assert np.array_equal(parts["voted"]["uncertainty"], results["voted"].uncertainty)
    assert "uncertainty" not in parts["plain"]
    assert "uncertainty" not in write_part(SliceResult(0, results["voted"], 1.0), False)[1]
    for name, result in results.items():
        checkpoints = CheckpointFolder(tmp_path / name)
        checkpoints.open({})
        store_results(checkpoints, "slice", {"brain tumor": result})
        again = load_results(checkpoints, "slice")["brain tumor"].uncertainty
        assert again is None if result.uncertainty is None else np.array_equal(again, result.uncertainty)


@pytest.fixture
def scan(tmp_path):
    phantom = TASKS["us_tumour"].phantom("validation", 3)
    (tmp_path / "scans").mkdir()
    Image.fromarray(phantom.image).save(tmp_path / "scans" / "breast.png")
    return tmp_path / "scans" / "breast.png"


def read_map(path):
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert found.shape == (1, 128, 128) and found.dtype == np.float32
    return found


def test_segment_writes_the_uncertainty_of_a_vote_beside_the_masks(tmp_path, run, scan, segmenter):
    """A vote has one mask of each prompt: the shipped SAM 2s were trained on one for each object."""
    ask = ("segment", scan, "-p", "breast tumor", "--device", "cpu", "--model", "demo", "--sam", "demo")
    voted = ("--vote", "mean", "--uncertainty")
    code, _, error = run(*ask, "-o", tmp_path / "mask.nii.gz", *voted, tmp_path / "unsure.nii.gz")
    assert code == 0, error
    one_each = VoteSettings("mean", several=False)
    assert VoteSettings("mean") == one_each
    voting = segmenter.with_settings(replace(segmenter.settings, vote=one_each))
    voting.set_image(np.array(Image.open(scan).convert("RGB")))
    expected = voting.segment("breast tumor").uncertainty
    assert np.allclose(read_map(tmp_path / "unsure.nii.gz")[0], expected, atol=1e-5) and expected.max() > 0.5

    many = (*voted, tmp_path / "maps", "--vote-masks", "-p", "brain: no such thing")
    code, _, error = run(*ask, "-o", tmp_path / "masks", *many)
    assert code == 0, error
    three = read_map(tmp_path / "maps" / "breast_uncertainty.nii.gz")[0]
    assert three.max() > 0.5 and not np.allclose(three, expected, atol=1e-3)


@pytest.mark.parametrize(
    "options, got",
    [
        (("--uncertainty", "u.nii.gz"), "Add --vote mean"),
        (("--vote-masks",), "Add --vote mean"),
        (("--vote", "mean", "--prompts", "points"), "nothing to vote on"),
        (("--vote", "mean", "--box", "1,1,9,9"), "Boxes and points are outlined by one mask"),
        (("--vote", "mean", "--uncertainty", "u.nii.gz", "--propagate", "planes"), "planes gives no uncertainty"),
        (("--vote", "mean", "--uncertainty", "u.png"), "u.png"),
    ],
)
def test_what_gives_no_uncertainty_is_refused_before_the_work(tmp_path, run, scan, options, got):
    code, _, error = run("segment", scan, "-p", "breast tumor", "-o", tmp_path / "mask.nii.gz", *options)
    assert code == 2 and got in error and not (tmp_path / "mask.nii.gz").exists()


def test_an_export_writes_where_the_masks_disagree(tmp_path, run, scan):
    out = tmp_path / "labels"
    ask = ("-p", "tumor: breast tumor", "--format", "nii.gz", "--device", "cpu", "--vote", "mean")
    code, _, error = run("export", tmp_path / "scans", "-o", out, *ask)
    assert code == 0, error
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "uncertainty" / "breast.nii.gz")))
    assert shown.shape == (1, 128, 128) and shown.dtype == np.float32 and 0.5 < shown.max() <= 1
    record = json.loads((out / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert record["files"] == ["uncertainty/breast.nii.gz", "breast.nii.gz"]
    (tmp_path / "struck.txt").write_text("breast\n", encoding="utf-8")
    assert run("strike", out, tmp_path / "struck.txt")[0] == 0
    assert (out / "struck" / "uncertainty" / "breast.nii.gz").is_file()
