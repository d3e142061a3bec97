"""A map that is spread among places that look alike: weights by hand, and what becomes of a real one."""

from __future__ import annotations

import json
import math
import re
import threading
from dataclasses import replace
from pathlib import Path

import medclipsam
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from MedCLIPSAMLib.commands.option_groups import OptionalStages
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.segmentation.affinity import AffinitySettings, affinity, finest, nearness, spread_map
from MedCLIPSAMLib.segmentation.settings import default_settings

ROOT = Path(__file__).resolve().parents[2]
FEATURES = torch.tensor([[[1.0, 2.0, 0.0]], [[0.0, 0.0, 3.0]]])
"""Of three places in a row, (2, 1, 3): the first two look alike, the third does not."""
VALUES = torch.tensor([[[4.0, 0.0, 3.0]]])


def test_places_that_look_alike_share_their_values():
    """Cosines are 1, 1, 0; their mean over all pairs is 5/9, and .9 times that is subtracted."""
    weights = affinity(FEATURES, center=0.9, sharpness=2.0)
    assert torch.allclose(weights, torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1.0]]), atol=1e-6)
    settings = AffinitySettings(steps=1, center=0.9, sharpness=2.0)
    assert spread_map(VALUES, FEATURES, settings).flatten().tolist() == pytest.approx([2, 2, 3])
    half = spread_map(VALUES, FEATURES, replace(settings, share=0.5))
    assert half.flatten().tolist() == pytest.approx([3, 1, 3])


def test_the_softmax_prefers_what_is_more_alike():
    """At center 0 all three count: the first place takes e^2, e^2 and e^0."""
    weights = affinity(FEATURES, center=0.0, sharpness=2.0)
    total = 2 * math.exp(2) + 1
    assert weights[0].tolist() == pytest.approx([math.exp(2) / total, math.exp(2) / total, 1 / total])


def test_a_place_is_never_without_itself():
    alike = torch.ones(4, 2, 2)
    assert torch.isfinite(affinity(alike, center=5.0, sharpness=3.0)).all()
    assert torch.allclose(affinity(alike, center=5.0, sharpness=3.0), torch.eye(4))


def test_what_is_near_counts_more():
    near = nearness((1, 2), 0.5, FEATURES)
    assert near[0].tolist() == pytest.approx([1, math.exp(-0.5)])
    settings = AffinitySettings(steps=1, center=0.9, sharpness=2.0, reach=1 / 3)
    share = math.exp(-0.5)  # of a neighbor, a third of the side away
    expected = [4 / (1 + share), 4 * share / (1 + share), 3]
    assert spread_map(VALUES, FEATURES, settings).flatten().tolist() == pytest.approx(expected)


def test_what_all_places_have_in_common_tells_none_apart():
    shifted = FEATURES + torch.tensor([100.0, 100.0])[:, None, None]
    plain = AffinitySettings(steps=1, by_channel=True)
    assert torch.allclose(spread_map(VALUES, shifted, plain), spread_map(VALUES, FEATURES, plain), atol=1e-4)


def test_the_finest_features_that_fit_are_taken():
    levels = [torch.zeros(1, 2, side, side) for side in (80, 40, 20)]
    assert finest(levels).shape[-1] == 40 and finest([torch.zeros(1, 2, 128, 128)]).shape[-1] == 128


def test_a_segmenter_spreads_the_map_and_only_where_asked_for(segmenter):
    task = TASKS["mri_tumour"]
    phantom = task.phantom("validation", 3)
    segmenter.set_image(to_rgb(phantom))
    plain = segmenter.segment(task.prompt)
    settings = replace(segmenter.settings, affinity=AffinitySettings(steps=1, sharpness=30.0, share=0.5))
    spread = segmenter.with_settings(settings)
    found = spread.segment(task.prompt)
    assert found.where.map.values.shape == (48, 48) and plain.where.map.values.shape == (16, 16)
    assert dsc(found.mask, phantom.lesion_mask) > 0.8
    assert np.array_equal(spread.saliency(task.prompt).saliency, found.where.saliency)
    located = segmenter.locate([task.prompt])
    again = spread.segment_each([task.prompt], located=located)[0][task.prompt]
    assert np.array_equal(again.mask, found.mask)
    absent = spread.with_settings(replace(settings, presence_threshold=1.0)).segment(task.prompt)
    assert not absent.found and absent.where.map.values.shape == (16, 16), "nothing is embedded for what is not there"


def test_the_page_on_python_runs_and_names_what_the_options_of_the_commands_turn_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phantom = TASKS["mri_tumour"].phantom("validation", 3)
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([phantom.image] * 2)), "head.nii.gz")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    script = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    script = script.replace('"biomedclip", "sam2.1-large", device="cuda"', '"demo", "demo"')
    said = {"image": to_rgb(phantom), "stop": threading.Event()}
    exec(script, said)
    tumor, ventricles = medclipsam.read_segmentation("head.seg.nrrd")
    assert tumor.mask.any() and ventricles.mask.shape == (2, 128, 128) and not Path("head.unfinished").exists()
    assert said["mask"].any() and said["unsure"].shape == (128, 128) and said["again"][0]["brain tumor"].found
    for name, options in (
        ("spread", {"affinity": True}),
        ("mirrored", {"mirror": True}),
        ("finer", {"finer": True}),
        ("three", {"vote": "mean", "vote_masks": True}),
    ):
        assert OptionalStages(**options).apply(said["settings"]) == said[name] != said["settings"]


def test_segment_and_export_take_the_same_options(tmp_path, run):
    (tmp_path / "scans").mkdir()
    Image.fromarray(TASKS["us_tumour"].phantom("validation", 3).image).save(tmp_path / "scans" / "a.png")
    models = ("--model", "demo", "--sam", "demo", "--device", "cpu", "-p", "breast tumor")
    options = (*models, "--affinity", "--mirror", "--finer", "--vote", "map")
    wanted = OptionalStages("map", affinity=True, mirror=True, finer=True).apply(default_settings("demo"))
    code, output, error = run("segment", tmp_path / "scans" / "a.png", "-o", tmp_path / "a.nii.gz", *options, "--json")
    assert code == 0, error
    used = json.loads(json.loads(output)["tags"]["MedCLIPSAM.Settings"])
    code, _, error = run("export", tmp_path / "scans", "-o", tmp_path / "out", "--format", "png", *options)
    assert code == 0, error
    exported = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))["segmenter"]
    for name, value in wanted.deciding().items():
        assert name == "precision" or used[name] == exported[name] == value

    more = ("--format", "png", "--vote-masks", "--min-ml", 5)
    code, _, error = run("export", tmp_path / "scans", "-o", tmp_path / "out", *options, *more)
    assert code == 2 and "min_ml was 0.0, is 5.0" in error and "vote.several was False, is True" in error
