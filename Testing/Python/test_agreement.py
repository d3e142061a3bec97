"""What the agreement of the two models decides, on masks whose overlap is counted by hand, and on a phantom."""

from __future__ import annotations

import numpy as np
import pytest

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.segmentation.agreement import AgreementSettings, choose_result, compute_agreement
from MedCLIPSAMLib.segmentation.answer import draft_result, finish_result
from MedCLIPSAMLib.segmentation.mask_prediction import MaskPrediction
from MedCLIPSAMLib.segmentation.presence import Presence
from MedCLIPSAMLib.segmentation.result import Localization
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings
from MedCLIPSAMLib.segmentation.saliency_map import SaliencyMap
from MedCLIPSAMLib.segmentation.settings import Settings, default_settings

LIMITS = AgreementSettings(min_iou=0.25, min_iou_in_doubt=0.4, certain=0.9)


def rectangle(columns: int) -> np.ndarray:
    """The first columns of 10 rows, (10, 20) bool."""
    mask = np.zeros((10, 20), bool)
    mask[:, :columns] = True
    return mask


def answer(columns: int, presence: float, limits: AgreementSettings = LIMITS, threshold: float = 0.5):
    """The result where the saliency covers 10 columns and SAM 2's mask some of them, or more."""
    settings = Settings(M2IBSettings(), agreement=limits, presence_threshold=threshold)
    saliency = SaliencyMap(rectangle(10).astype(np.float32), rectangle(10).shape)
    where = Localization(saliency, Presence(presence, 1 - presence, 0.0, "no tumor"))
    draft = draft_result(np.zeros((10, 20, 3), np.uint8), "tumor", where, settings)
    return finish_result(draft, MaskPrediction(rectangle(columns), np.array([0.8], np.float32)), settings)


def test_agreement_is_intersection_over_union():
    assert (
        compute_agreement(rectangle(3), rectangle(10)) == 0.3 and compute_agreement(rectangle(20), rectangle(10)) == 0.5
    )
    assert compute_agreement(rectangle(0), rectangle(10)) == compute_agreement(rectangle(0), rectangle(0)) == 0


@pytest.mark.parametrize(
    "columns, presence, kept",
    [
        (10, 0.6, 10),  # IoU 1
        (4, 0.6, 4),  # 0.4, in doubt, and enough
        (3, 0.6, 0),  # 0.3, in doubt: nothing found
        (3, 0.9, 3),  # 0.3, certain
        (2, 0.9, 10),  # 0.2, certain: the coarse mask
        (2, 0.6, 0),
        (0, 0.9, 0),  # SAM 2 sees nothing
    ],
)
def test_what_the_overlap_decides(columns, presence, kept):
    result = answer(columns, presence)
    assert np.array_equal(result.mask, rectangle(kept)) and result.agreement == columns / 10
    assert result.message.startswith("Found" if kept else "Nothing found") and (result.score > 0) == bool(kept)


def test_the_sentence_says_what_was_decided_and_the_score_of_a_coarse_mask_is_low():
    assert "SAM 2's outline disagrees with the saliency (IoU 0.20, below 0.25)" in answer(2, 0.9).message
    assert "coarse mask" in answer(2, 0.9).message and answer(2, 0.9).score == pytest.approx(0.9 * 0.2)
    assert answer(10, 0.9).score == pytest.approx(0.9 * 0.8)
    assert "presence 0.60, below 0.90" in answer(3, 0.6).message and "IoU 0.30, below 0.40" in answer(3, 0.6).message


def test_by_default_it_decides_nothing_and_without_a_presence_check_there_is_no_doubt():
    for columns in (1, 2, 20):
        assert np.array_equal(answer(columns, 0.6, AgreementSettings()).mask, rectangle(columns))
    assert np.array_equal(answer(3, 0.1, threshold=0.0).mask, rectangle(3))
    with pytest.raises(InputError, match="less than or equal to 1"):
        AgreementSettings(min_iou=1.5)


def test_the_best_agreement_is_chosen_and_the_first_of_equals():
    results = [answer(columns, 0.95, AgreementSettings()) for columns in (4, 9, 20, 9)]
    assert [result.agreement for result in results] == [0.4, 0.9, 0.5, 0.9]
    assert choose_result(results).mask is results[1].mask and choose_result(results[:1]) is results[0]


@pytest.mark.parametrize("modality, prompt", [("US", "breast tumor"), ("CT", "lung nodule")])
def test_of_several_steps_the_one_is_taken_on_which_the_models_agree_best(segmenter, modality, prompt):
    phantom = make_phantom("validation", 4, modality, 1)
    segmenter.set_image(to_rgb(phantom))
    settings = segmenter.settings
    by_step = [segmenter.with_settings(settings.with_saliency(steps=n)).segment(prompt) for n in (6, 7, 8, 9)]
    chooses = segmenter.with_settings(settings.with_saliency(steps=9, earliest=6))
    best = max(by_step, key=lambda result: result.agreement)
    found = chooses.segment(prompt)
    assert np.array_equal(found.mask, best.mask) and found.agreement == pytest.approx(best.agreement)
    assert np.allclose(found.where.saliency, best.where.saliency, atol=1e-5)
    assert np.array_equal(chooses.saliency(prompt).saliency, found.where.saliency)
    assert set(found.seconds) == {"saliency", "embedding", "mask"}


def test_steps_given_by_hand_are_the_ones_whose_map_is_taken():
    settings = Settings(M2IBSettings(steps=12, earliest=8), by_word={"brain": {"steps": 9}})
    assert settings.saliency_for("brain").candidates == range(8, 10)
    assert settings.saliency_for("lung").candidates == range(8, 13)
    assert settings.with_saliency(steps=7).saliency_for("brain").candidates == range(7, 8)
    assert settings.with_saliency(steps=7, earliest=5).saliency_for("lung").candidates == range(5, 8)
    assert settings.with_saliency(beta=0.1).saliency_for("lung").candidates == range(8, 13)
    assert M2IBSettings(steps=4, earliest=8).candidates == range(4, 5), "the last step is always one"


def test_a_prompt_that_names_a_side_does_without_the_mirror_image():
    settings = Settings(M2IBSettings(mirror=True), by_word={"lung": {"steps": 15}})
    prompts = ("lungs", "left lung", "Right-sided nodule", "lesion of the left breast", "bright lesion")
    assert [settings.saliency_for(prompt).mirror for prompt in prompts] == [True, False, False, False, True]


def test_a_model_of_the_papers_keeps_the_papers_way():
    for model in ("biomedclip", "medclip-samv2"):
        settings = default_settings(model)
        assert settings.agreement == AgreementSettings() and settings.prompts.margin == 0
        assert settings.saliency.candidates == range(10, 11) and not settings.saliency.mirror
