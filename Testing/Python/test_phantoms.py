"""Phantoms: reproducible, true to what they say of themselves, and described by the captions that fit."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from typer.testing import CliRunner

from MedCLIPSAMLib.cli import app
from MedCLIPSAMLib.demo_models.train_clip import place_loss, split_pool
from MedCLIPSAMLib.phantoms.captions import Text, all_texts, impossible_texts
from MedCLIPSAMLib.phantoms.dataset import MODALITIES, make_phantom, write_phantoms
from MedCLIPSAMLib.phantoms.volumes import TRACE, make_sections, make_volume


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_same_index_gives_the_same_phantom_and_splits_differ(modality):
    first, again = make_phantom("train", 3, modality), make_phantom("train", 3, modality)
    assert np.array_equal(first.image, again.image) and first.facts == again.facts
    assert not np.array_equal(first.image, make_phantom("test", 3, modality).image)


@pytest.mark.parametrize("modality", ["US", "MR", "CT"])
@pytest.mark.parametrize("lesions", [0, 1, 2])
def test_lesions_are_as_many_as_asked_for_and_stand_out(modality, lesions):
    for index in range(4):
        phantom = make_phantom("validation", index, modality, lesions)
        assert len(phantom.lesions) == lesions and f"lesions:{lesions}" in phantom.facts
        for lesion in phantom.lesions:
            assert 30 < lesion.mask.sum() < 0.25 * phantom.image.size


def test_left_is_at_the_right_of_the_image():
    seen = set()
    for index in range(30):
        for lesion in make_phantom("validation", index, "CT", 1).lesions:
            side = next(fact.split(":")[1] for fact in lesion.facts if fact.startswith("side:"))
            column = np.nonzero(lesion.mask)[1].mean()
            assert (column > 64) == (side == "left")
            seen.add(side)
    assert seen == {"left", "right"}
    lungs = make_phantom("validation", 0, "XR").organs
    assert np.nonzero(lungs["left lung"])[1].mean() > np.nonzero(lungs["right lung"])[1].mean()


def test_a_text_speaks_of_the_lesions_that_it_describes_only():
    phantom = next(
        p
        for p in (make_phantom("validation", i, "CT", 2) for i in range(40))
        if len({"side:left", "side:right"} & {fact for lesion in p.lesions for fact in lesion.facts}) == 2
    )
    left = Text("left sided nodule", frozenset({"modality:CT"}), frozenset({"side:left"})).region(phantom)
    assert np.array_equal(left, next(lesion.mask for lesion in phantom.lesions if "side:left" in lesion.facts))
    assert Text("no nodule", frozenset({"modality:CT", "lesions:0"})).region(phantom) is None
    assert Text("brain tumor", frozenset({"modality:MR"}), frozenset()).region(phantom) is None


def test_the_prompt_of_the_meaningless_test_is_not_trained_on():
    assert "sitting on a chair" not in {text.text for text in all_texts() + impossible_texts()}


def test_written_phantoms_hold_captions_that_name_their_files(tmp_path):
    write_phantoms(tmp_path, "validation", 8)
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert len(lines) == 8
    for line in lines:
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / line["image"])))
        assert image.shape == (128, 128) and line["captions"]
        for name in line["masks"]:
            stem = line["image"].removeprefix("images/").removesuffix(".png")
            mask = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "truth" / f"{stem}_{name}.png")))
            assert set(np.unique(mask)) == {0, 255}


def test_the_phantoms_of_two_splits_share_no_folder(tmp_path):
    make = lambda *more: CliRunner().invoke(app, ["phantoms", "make", "-o", str(tmp_path), "--count", "1", *more])
    assert make().exit_code == make().exit_code == 0
    assert "other split" in str(make("--split", "test").exception)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_a_volume_changes_from_slice_to_slice_and_its_lesions_appear_and_vanish(modality):
    phantom, again = make_volume("validation", 2, modality, 2), make_volume("validation", 2, modality, 2)
    assert np.array_equal(phantom.slices, again.slices) and len(phantom.lesions) == 2
    assert not np.array_equal(phantom.slices, make_volume("train", 2, modality, 2).slices)
    for lesion in phantom.lesions:
        shown = np.flatnonzero(lesion.any((1, 2)))
        assert 2 <= len(shown) < 20 and not lesion[0].any() and not lesion[-1].any()
        assert np.array_equal(shown, np.arange(shown[0], shown[-1] + 1))  # without a gap
    inner = phantom.slices[:, 40:88, 40:88].reshape(24, -1).astype(float)
    alike = np.corrcoef(inner)
    near, far = np.mean([alike[k, k + 1] for k in range(23)]), np.mean([alike[k, k + 8] for k in range(16)])
    assert near > 0.85 and near > far + 0.03
    if modality == "CT":
        area = phantom.lungs_mask.sum((1, 2))
        assert area.argmax() in range(6, 18) and area[0] < 0.7 * area.max()


def test_the_lesions_of_a_volume_stay_where_they_are():
    """The center of a lesion that does not split moves but little from slice to slice."""
    for index in range(6):
        for lesion in make_volume("validation", index, "MR", 1).lesions:
            centers = [np.argwhere(mask).mean(0) for mask in lesion if mask.sum() > 20]
            assert np.abs(np.diff(centers, axis=0)).max() < 3


def test_sections_say_what_they_show():
    for section in make_sections("validation", 1, "CT"):
        assert f"lesions:{len(section.lesions)}" in section.facts and "modality:CT" in section.facts
        assert ("kind:normal" in section.facts) == (not section.lesions)
        assert all(lesion.mask.sum() >= TRACE for lesion in section.lesions)


def test_the_losses_of_the_demo_clip_reward_what_they_should():
    shown = torch.ones(1, 1, dtype=torch.bool)
    inside, outside = torch.tensor([[0.8]]), torch.tensor([[-0.2]])
    assert place_loss(inside, outside, shown) == 0 < place_loss(outside, inside, shown)
    patches, region = torch.ones(1, 4, 3), torch.tensor([[[True, True, False, False]]])
    within, without = split_pool(patches, region, torch.Generator().manual_seed(0))
    assert not torch.allclose(within, without) and within.shape == (1, 1, 3)
