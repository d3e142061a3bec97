"""The DSC that is expected of a mask: the predictor, its file, what the user is told, and the filter of an export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MedCLIPSAMLib.checkpoints import CheckpointFolder
from MedCLIPSAMLib.errors import InputError, ModelError
from MedCLIPSAMLib.experiments.expected_dsc import MeasuredMask, judge, leave_one_set_out, ranking_quality
from MedCLIPSAMLib.experiments.volume_benchmark import volume_of
from MedCLIPSAMLib.export.cases import find_cases
from MedCLIPSAMLib.export.engines import LocalEngine
from MedCLIPSAMLib.export.export import export
from MedCLIPSAMLib.export.job import ExportSettings
from MedCLIPSAMLib.export.manifest import read_records
from MedCLIPSAMLib.export.remarks import failures
from MedCLIPSAMLib.models.expected_dsc import EXPECTED_DSC, DscPredictor, Indicators, fit_predictor, read_predictor
from MedCLIPSAMLib.models.store import find, find_model_folder
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.segmentation.expected_dsc import fitted_settings, holds_for, knows_target
from MedCLIPSAMLib.segmentation.result_arrays import load_results, store_results
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.segmentation.vote import VoteSettings
from MedCLIPSAMLib.volumes.write import write_array, write_png

SETTINGS = fitted_settings(default_settings("demo"))
STACK = make_volume("validation", 1, "MR", 1)
WEIGHTS = Indicators(presence=0.0, quality=1.0, agreement=0.0, consistency=0.0)
BY_QUALITY = DscPredictor("demo", SETTINGS, ("brain tumor",), 0.0, WEIGHTS, 50)


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return np.repeat(make_phantom("validation", 0, "MR").image[..., None], 3, axis=2)


@pytest.fixture()
def segmenter():
    made = load_segmenter("demo", "demo", "cpu")
    made.clip.dsc_predictor = BY_QUALITY
    return made


def random_indicators(count: int) -> list[Indicators]:
    rng = np.random.default_rng(0)
    return [Indicators(*values, consistency=1.0) for values in rng.random((count, 3))]


def test_what_the_scores_depend_on_is_found():
    indicators = random_indicators(300)
    scores = [1 / (1 + np.exp(-(4 * one.quality - 2))) for one in indicators]
    predictor = fit_predictor(indicators, scores, "demo", SETTINGS, ())
    assert max(abs(predictor.predict(one) - score) for one, score in zip(indicators, scores)) < 0.1
    weights = predictor.weights
    assert abs(weights.presence) < 0.3 and abs(weights.agreement) < 0.3 and weights.consistency == 0


def test_by_hand():
    # bias -1, 2 x .5 + 4 x .25: logit 1
    predictor = DscPredictor("demo", SETTINGS, (), -1.0, Indicators(0, 2, 4, 0), 9)
    assert predictor.predict(Indicators(0.9, 0.5, 0.25, 1.0)) == pytest.approx(1 / (1 + np.exp(-1)))


def test_what_is_written_is_read(tmp_path):
    BY_QUALITY.write(tmp_path / EXPECTED_DSC)
    assert read_predictor(tmp_path) == BY_QUALITY
    assert read_predictor(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "change",
    [
        {"bias": "none"},
        {"weights": {"quality": 1}},
        {"sam": None},
        {"settings": 7},
        {"weights": [1, 2, 3, 4]},
        {"sam": None, "bias": []},
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change):
    BY_QUALITY.write(tmp_path / EXPECTED_DSC)
    content = json.loads((tmp_path / EXPECTED_DSC).read_text(encoding="utf-8")) | change
    (tmp_path / EXPECTED_DSC).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=r"a damaged file: .*[^.]\. Get the model again") as told:
        read_predictor(tmp_path)
    assert "Choose another value" not in str(told.value), "of the file, not of the user"


def test_it_is_told_with_a_mask(segmenter, brain, tmp_path):
    segmenter.set_image(brain)
    result = segmenter.segment("brain tumor")
    assert result.found and result.expected_dsc == pytest.approx(1 / (1 + np.exp(-result.predicted_iou.mean())))
    assert result.message.endswith(f"Expected DSC {result.expected_dsc:.2f}.")
    absent = segmenter.segment("no brain tumor")
    assert not absent.found and absent.expected_dsc is None
    checkpoints = CheckpointFolder(tmp_path / "kept")
    checkpoints.open({})
    store_results(checkpoints, "slice", {"brain tumor": result})
    assert load_results(checkpoints, "slice")["brain tumor"].expected_dsc == result.expected_dsc


@pytest.mark.parametrize(
    "change",
    [
        {"vote": VoteSettings("mean")},
        {"presence_threshold": 0.0},
        {"prompts": SamPromptSettings("points")},
        {"saliency": replace(default_settings("demo").saliency, steps=9)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_it_is_not_told_for_settings_that_it_was_not_fitted_with(segmenter, brain, change):
    segmenter.set_image(brain)
    result = segmenter.with_settings(replace(segmenter.settings, **change)).segment("brain tumor")
    assert result.found and result.expected_dsc is None and "Expected" not in result.message
    assert f"No expected DSC: its predictor is for another {next(iter(change))}." in result.notes


def test_it_is_not_told_with_another_sam_a_negative_prompt_or_no_predictor(segmenter, brain):
    segmenter.set_image(brain)
    assert segmenter.segment("brain tumor", negative="skull").expected_dsc is None
    assert segmenter.segment("tumor").found and segmenter.segment("tumor").expected_dsc is None
    for other in (replace(BY_QUALITY, sam="another"), None):
        segmenter.clip.dsc_predictor = other
        result = segmenter.segment("brain tumor")
        assert result.found and result.expected_dsc is None and "Expected" not in result.message
        assert any("predictor is for another SAM 2" in note for note in result.notes) == (other is not None)


@pytest.mark.parametrize(
    "prompt", ["tumour of the brain", "Brain lesions", "a mass in the right brain", "brain cancer"]
)
def test_other_words_name_the_same_target(prompt):
    assert knows_target(BY_QUALITY, prompt)


@pytest.mark.parametrize("prompt", ["brain", "tumor", "breast tumor", "brain edema", "large brain tumor"])
def test_other_targets_are_not_known(prompt):
    assert not knows_target(BY_QUALITY, prompt)


def test_one_of_two_lungs_is_another_target_than_both():
    lungs = replace(BY_QUALITY, prompts=("lungs",))
    assert knows_target(lungs, "the lungs") and not knows_target(lungs, "left lung")


@pytest.mark.parametrize("prompt, told", [("brain", True), ("tumor", False), ("large enhancing brain tumor", False)])
def test_a_find_that_was_not_measured_is_told(segmenter, brain, prompt, told):
    segmenter.set_image(brain)
    everything = replace(segmenter.settings, presence_threshold=0.0)
    result = segmenter.with_settings(everything).segment(prompt)
    assert result.found
    assert any("measured on brain tumor only" in note for note in result.notes) == told


def test_precision_and_modality_do_not_matter(segmenter):
    changed = replace(segmenter.settings, precision="bf16", modality="MR", at_once=4)
    assert holds_for(BY_QUALITY, "demo", changed)


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
    segmenter.set_image(brain)
    assert expected == pytest.approx(segmenter.segment("brain tumor").expected_dsc, abs=1e-4)
    strict = ExportSettings("png", min_expected_dsc=expected + 0.01)
    assert export(cases, LocalEngine(segmenter), tmp_path / "some", strict) == {"filtered": 1}


def test_what_has_no_expected_dsc_is_a_failure_with_a_reason_and_not_filtered(segmenter, brain, tmp_path):
    wanted = ExportSettings("nii.gz", min_expected_dsc=0.1)
    write_png(tmp_path / "a.png", brain)
    flat = find_cases(tmp_path / "a.png", {"tumor": "brain tumor"})
    voting = segmenter.with_settings(replace(segmenter.settings, vote=VoteSettings("mean")))
    for number, (cases, engine, got) in enumerate(
        (
            (flat, voting, "models, settings and prompts"),
            ([replace(flat[0], negative="skull")], segmenter, "no negative prompt"),
        )
    ):
        out = tmp_path / str(number)
        assert export(cases, LocalEngine(engine), out, wanted) == {"failed": 1}
        assert got in next(iter(read_records(out).values()))["problem"]
        assert "Leave out the minimum" in failures(read_records(out).values())[0]


def test_volumes_are_refused_before_the_work(segmenter, tmp_path):
    write_array(tmp_path / "stack.nii.gz", volume_of(STACK).array, volume_of(STACK))
    stack = find_cases(tmp_path / "stack.nii.gz", {"tumor": "brain tumor"})
    with pytest.raises(InputError, match="has 24 slices, but a DSC can be predicted only for 2-D images"):
        export(stack, LocalEngine(segmenter), tmp_path / "out", ExportSettings("nii.gz", min_expected_dsc=0.1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, got",
    [
        (["--sam", "starter"], "'demo' with 'starter'"),
        (["--vote", "mean"], "another vote"),
        (["-p", "skull"], "got 'skull'"),
    ],
)
def test_a_filter_that_the_models_cannot_serve_is_refused_before_the_work(brain, tmp_path, run, options, got):
    write_png(tmp_path / "a.png", brain)
    arguments = ["export", tmp_path / "a.png", "-p", "brain tumor", "-o", tmp_path / "Dataset101_A", "--model", "demo"]
    code, _, error = run(*arguments, "--min-expected-dsc", ".5", *options)
    assert code == 2 and "Expected" in error and got in error
    assert not (tmp_path / "Dataset101_A").exists()


def test_orders_are_judged_between_random_and_truth():
    truth = np.array([0.9, 0.1, 0.5, 0.7])
    assert ranking_quality(truth, truth) == pytest.approx(1)
    assert ranking_quality(-truth, truth) < 0
    assert ranking_quality(truth, np.full(4, 0.5)) == 0


def test_masks_are_judged_by_set_and_by_share(segmenter):
    made = lambda name, score, dsc: MeasuredMask(name, "case", Indicators(1, score, 1, 1), score, dsc)
    masks = [made("a", 0.9, 0.8), made("a", 0.2, 0.2), made("b", 0.8, 0.6), made("b", 0.5, 0.4)]
    found = judge(masks, np.full(4, 0.5))
    assert found["mae"] == pytest.approx(0.2) and found["sets"]["a"]["expected"] == 0.5
    kept = found["coverage"]["50%"]
    assert kept["score"] == pytest.approx(0.7) and kept["random"] == pytest.approx(0.5)
    assert found["ranking_of_score"] == pytest.approx(1)
    assert sum(row["cases"] for row in found["calibration"]) == 4
    assert leave_one_set_out(masks, segmenter) == {}  # too few to fit to
    with pytest.raises(InputError, match="nothing was found"):
        judge([], np.zeros(0))


def test_a_predictor_is_fitted_on_validation_alone_and_judged_on_what_it_was_not_fitted_to(tmp_path, run):
    file = tmp_path / "fitted.json"
    fit = ["benchmark", "expected-dsc", "--model", "demo", "--sam", "demo", "--cases", "5", "--fit", file]
    for split in ("test", "train"):
        code, _, error = run(*fit, "--split", split)
        assert code == 2 and "Expected the split 'validation'" in error and not file.exists()
    code, output, error = run(*fit, "--split", "validation", "--plot", tmp_path / "plot.png")
    assert code == 0, error
    assert "each left out of its fit" in output and "fitted without the set" in output
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    content = json.loads(file.read_text(encoding="utf-8"))
    assert (content["sam"], content["settings"]) == ("demo", SETTINGS) and content["cases"] >= 20


@pytest.mark.parametrize("name", ["starter", "demo"])
def test_the_shipped_predictors_hold_for_the_shipped_models_and_settings(name):
    folder = find_model_folder(find(name, "clip"))
    predictor = read_predictor(folder)
    assert holds_for(predictor, name, default_settings(name))
    sure, unsure = (predictor.predict(Indicators(*values)) for values in ([0.95] * 4, [0.6, 0.4, 0.3, 0.3]))
    assert sure > 0.8 > 0.6 > unsure
