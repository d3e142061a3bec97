"""The DSC that is expected of a mask: the predictor, its file, what the user is told, and the filter of an export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MedCLIPSAMLib.errors import InputError, ModelError
from MedCLIPSAMLib.experiments.expected_dsc import MeasuredMask, judge, leave_one_set_out, order_gain
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.job import ExportSettings
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.models.expected_dsc import EXPECTED_DSC, DscPredictor, Signs, fit_predictor, read_predictor
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.segmentation.vote import VoteSettings
from MedCLIPSAMLib.volumes.write import write_png

EVEN = DscPredictor("demo", 1, 0.0, {"presence": 0.0, "quality": 1.0, "agreement": 0.0, "consistency": 0.0}, 50)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return np.repeat(make_phantom("validation", 0, "MR").image[..., None], 3, axis=2)


@pytest.fixture()
def segmenter():
    made = load_segmenter("demo", "demo", "cpu")
    made.clip.dsc_predictor = EVEN
    return made


def random_signs(count: int) -> list[Signs]:
    rng = np.random.default_rng(0)
    return [Signs(*values, consistency=1.0) for values in rng.random((count, 3))]


def test_what_the_scores_depend_on_is_found():
    signs = random_signs(300)
    scores = [1 / (1 + np.exp(-(4 * sign.quality - 2))) for sign in signs]
    predictor = fit_predictor(signs, scores, "demo", 1)
    assert max(abs(predictor.predict(sign) - score) for sign, score in zip(signs, scores)) < 0.1
    weights = predictor.weights
    assert abs(weights["presence"]) < 0.3 and abs(weights["agreement"]) < 0.3 and weights["consistency"] == 0


def test_by_hand():
    # bias -1, 2 x .5 + 4 x .25: logit 1
    predictor = DscPredictor("demo", 1, -1.0, {"presence": 0, "quality": 2, "agreement": 4, "consistency": 0}, 9)
    assert predictor.predict(Signs(0.9, 0.5, 0.25, 1.0)) == pytest.approx(1 / (1 + np.exp(-1)))


def test_what_is_written_is_read(tmp_path):
    EVEN.write(tmp_path / EXPECTED_DSC)
    assert read_predictor(tmp_path) == EVEN
    assert read_predictor(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "change",
    [
        {"bias": "none"},
        {"weights": {"quality": 1}},
        {"maps": None},
        {"weights": [1, 2, 3, 4]},
        {"sam": None, "bias": []},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    EVEN.write(tmp_path / EXPECTED_DSC)
    content = json.loads((tmp_path / EXPECTED_DSC).read_text(encoding="utf-8")) | change
    (tmp_path / EXPECTED_DSC).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=r"expected_dsc\.json"):
        read_predictor(tmp_path)


def test_it_is_told_for_the_models_and_settings_that_it_holds_for_alone(segmenter, brain):
    segmenter.set_image(brain)
    result = segmenter.segment("brain tumor")
    assert result.found and result.expected_dsc == pytest.approx(1 / (1 + np.exp(-result.predicted_iou.mean())))
    assert result.message.endswith(f"Expected DSC {result.expected_dsc:.2f}.")
    voted = segmenter.with_settings(replace(segmenter.settings, vote=VoteSettings("mean")))
    assert voted.segment("brain tumor").expected_dsc is None
    for other in (replace(EVEN, sam="another"), replace(EVEN, maps=5), None):
        segmenter.clip.dsc_predictor = other
        result = segmenter.segment("brain tumor")
        assert result.expected_dsc is None and "Expected" not in result.message
    segmenter.clip.dsc_predictor = EVEN
    absent = segmenter.segment("no brain tumor")
    assert not absent.found and absent.expected_dsc is None


def test_consistency_is_the_mean_dice_with_the_other_maps_masks(segmenter, brain):
    one = segmenter.settings.saliency_for("brain tumor").steps
    segmenter.set_image(brain)
    assert segmenter.segment("brain tumor").consistency == 1.0
    several = segmenter.with_settings(segmenter.settings.with_saliency(steps=one, earliest=one - 2))
    masks = [
        segmenter.with_settings(segmenter.settings.with_saliency(steps=steps, earliest=0)).segment("brain tumor").mask
        for steps in range(one - 2, one + 1)
    ]
    result = several.segment("brain tumor")
    dice = [2 * (result.mask & mask).sum() / (result.mask.sum() + mask.sum()) for mask in masks]
    dice.remove(max(dice))  # its own
    assert result.consistency == pytest.approx(np.mean(dice), abs=1e-6)


def test_an_export_writes_it_down_and_leaves_out_what_is_below(segmenter, brain, tmp_path):
    write_png(tmp_path / "a.png", brain)
    cases = find_cases(tmp_path / "a.png", {"tumor": "brain tumor"})
    assert export(cases, LocalEngine(segmenter), tmp_path / "all", ExportSettings("png")) == {"found": 1}
    expected = read_records(tmp_path / "all")["a"]["labels"]["tumor"]["expected_dsc"]
    assert 0.5 < expected < 0.75
    strict = ExportSettings("png", min_expected_dsc=expected + 0.01)
    assert export(cases, LocalEngine(segmenter), tmp_path / "some", strict) == {"filtered": 1}


def test_a_filter_that_the_models_cannot_serve_is_refused_before_the_work(brain, tmp_path, run):
    write_png(tmp_path / "a.png", brain)
    arguments = ["export", str(tmp_path / "a.png"), "-p", "brain tumor", "-o", str(tmp_path / "Dataset101_A")]
    code, _, error = run(*arguments, "--model", "demo", "--sam", "starter", "--min-expected-dsc", ".5")
    assert code == 2 and "Expected models whose DSC is predicted, got 'demo' with 'starter'" in error
    assert not (tmp_path / "Dataset101_A").exists()


def test_orders_are_judged_between_random_and_truth():
    truth = np.array([0.9, 0.1, 0.5, 0.7])
    assert order_gain(truth, truth) == pytest.approx(1)
    assert order_gain(-truth, truth) < 0
    assert order_gain(truth, np.full(4, 0.5)) == 0


def test_masks_are_judged_by_set_and_by_share():
    predictor = DscPredictor("demo", 1, 0.0, dict.fromkeys(("presence", "quality", "agreement", "consistency"), 0.0), 9)
    made = lambda name, score, dsc: MeasuredMask(name, "case", Signs(1, score, 1, 1), score, dsc)
    masks = [made("a", 0.9, 0.8), made("a", 0.2, 0.2), made("b", 0.8, 0.6), made("b", 0.5, 0.4)]
    found = judge(masks, predictor)  # 0.5 for all
    assert found["error"] == pytest.approx(0.2) and found["sets"]["a"]["expected"] == 0.5
    assert found["kept"]["50%"]["score"] == pytest.approx(0.7) and found["kept"]["50%"]["random"] == pytest.approx(0.5)
    assert found["order_of_score"] == pytest.approx(1)
    assert sum(row["cases"] for row in found["calibration"]) == 4
    assert leave_one_set_out(masks, "demo", 1) == {}  # too few to fit to
    with pytest.raises(InputError, match="nothing was found"):
        judge([], predictor)


def test_a_predictor_is_fitted_on_phantoms_and_never_on_test(tmp_path, run):
    models = ["--model", "demo", "--sam", "demo"]
    file = tmp_path / "fitted.json"
    fit = ["benchmark", "expected-dsc", *models, "--cases", "5", "--fit", str(file)]
    assert "Give --split validation" in run(*fit)[2] and not file.exists()
    code, output, error = run(*fit, "--split", "validation", "--plot", str(tmp_path / "plot.png"))
    assert code == 0, error
    assert "fitted without it" in output and (tmp_path / "plot.png").stat().st_size > 10_000
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["sam"], content["maps"]) == ("demo", 1) and content["cases"] >= 20


def test_the_shipped_predictors_fit_the_shipped_settings():
    for name in ("starter", "demo"):
        clip = load_segmenter(name, name, "cpu").clip
        maps = len(default_settings(name).saliency_for("breast tumor").candidates)
        assert (clip.dsc_predictor.sam, clip.dsc_predictor.maps) == (name, maps)
        sure, unsure = (clip.dsc_predictor.predict(Signs(*values)) for values in ([0.95] * 4, [0.6, 0.4, 0.3, 0.3]))
        assert sure > 0.8 > 0.6 > unsure
