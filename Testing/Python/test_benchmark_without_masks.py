"""The choices that need no masks, with and without, on phantoms laid out like the real sets."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from test_benchmark_real import BREAST, LUNGS, rows_of, write_set

from MedCLIPSAMLib.commands.benchmark_without_masks import report
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.without_masks import VARIANTS, plain
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings
from MedCLIPSAMLib.segmentation.settings import default_settings


def test_the_first_variant_is_the_papers_way_and_each_later_one_adds_something():
    settings = default_settings("starter")
    made = {name: change(settings) for name, change in VARIANTS.items()}
    first = made["10 steps"]
    assert first == plain(settings) and first.saliency.layer == settings.saliency.layer == 7
    for prompt in ("brain tumor", "lungs", "breast tumor"):
        assert first.saliency_for(prompt).candidates == range(10, 11)
    assert first.prompts.margin == 0 and first.agreement == AgreementSettings() and not first.saliency.mirror
    tuned = made["steps by word, with masks"]
    assert [tuned.saliency_for(prompt).steps for prompt in ("brain tumor", "lungs", "lung nodule")] == [7, 15, 10]
    names = list(made)[2:]
    assert [made[name].saliency.candidates for name in names] == [range(8, 13)] * 4
    assert [made[name].prompts.margin for name in names] == [0, 0.2, 0.2, 0.2]
    assert [made[name].agreement.min_iou for name in names] == [0, 0, 0.15, 0.15]
    assert [made[name].saliency.mirror for name in names] == [False, False, False, True]


def test_the_command_compares_the_variants_on_the_same_images(tmp_path, run, segmenter):
    made = [make_phantom("validation", at, "US", 1) for at in range(2)]
    images = [(phantom.image, 255 * phantom.lesion_mask.astype(np.uint8)) for phantom in made]
    data, out = tmp_path / "data", tmp_path / "figures.json"
    write_set(data, BREAST, rows_of("ab", "val"), images)
    options = ("--device", "cpu", "--cases", 2, "--sets", BREAST, "--json", out)
    code, output, error = run("benchmark", "without-masks", data, *options)
    assert code == 0, error
    figures = json.loads(out.read_text(encoding="utf-8"))
    row = figures["sets"][BREAST]
    assert row["cases"] == 2 and list(row["dsc"]) == list(VARIANTS) and report(figures) in output
    segmenter = segmenter.with_settings(plain(segmenter.settings))
    scores, presence = [], []
    for path, phantom in zip(sorted((data / BREAST / "images").iterdir()), made):
        segmenter.set_image(np.array(Image.open(path).convert("RGB")))
        result = segmenter.segment("breast tumor")
        scores.append(dsc(result.mask, phantom.lesion_mask))
        presence.append(result.where.presence.probability)
    assert row["dsc"]["10 steps"] == pytest.approx(np.mean(scores), abs=1e-5)
    shares = figures["presence"][BREAST]["found"]
    assert {key: value for key, value in shares.items()} == {
        key: np.mean([value >= float(key) for value in presence]) for key in shares
    }
    assert figures["tumor_free"]["US phantoms"]["cases"] == 2
    assert LUNGS not in figures["sets"]
