"""The search for settings without masks: what it proposes, what it orders by, and what masks say of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from MedCLIPSAMLib.commands.search import _by_masks, _row
from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.label_free import (
    LabelFreeTrial,
    Space,
    _choice_first,
    search_without_masks,
    share_of_gap_closed,
)
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.experiments.search import SearchCase
from MedCLIPSAMLib.phantoms.dataset import make_phantom

pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def cases() -> list[SearchCase]:
    made = [make_phantom("validation", at, "MR", 1) for at in range(2)]
    return [SearchCase(to_rgb(phantom), "brain tumor", phantom.lesion_mask) for phantom in made]


def test_the_best_by_the_models_own_word_is_no_worse_than_the_default_and_masks_have_no_part(segmenter, cases):
    space = Space((0, 3), (0.1, 1.0), (2, 6))
    before = segmenter.settings
    found = search_without_masks(segmenter, cases, space, trials=3)
    blind = search_without_masks(segmenter, [replace(case, truth=None) for case in cases], space, trials=3)
    assert segmenter.settings == before and len(found) == 3
    assert [replace(trial, dsc=None) for trial in found] == blind
    scores = [trial.score for trial in found]
    assert scores == sorted(scores, reverse=True) or found[0].default
    assert scores[1:] == sorted(scores[1:], reverse=True)
    (default,) = (trial for trial in found if trial.default)
    assert (default.layer, default.beta, default.steps) == (3, 0.3, 10)
    tried = [trial for trial in found if not trial.default]
    assert all(trial.layer in (0, 3) and 0.1 <= trial.beta <= 1 and 2 <= trial.steps <= 6 for trial in tried)
    segmenter.set_image(cases[0].image)
    first = dsc(segmenter.segment("brain tumor").mask, cases[0].truth)
    segmenter.set_image(cases[1].image)
    assert default.dsc == pytest.approx((first + dsc(segmenter.segment("brain tumor").mask, cases[1].truth)) / 2)
    assert share_of_gap_closed(blind) is None


@pytest.mark.parametrize(
    "gains, chosen", [((0.1, 0.2, 0.1), "best"), ((0.3, -0.1, -0.1), "default"), ((0.2,), "default")]
)
def test_a_trial_is_chosen_where_it_beats_the_default_beyond_doubt(gains, chosen):
    default = LabelFreeTrial(3, 0.3, 10, 0.5, 0.5, 0.5, 0.5, None, True, by_image=(0.5,) * len(gains))
    best = replace(default, default=False, score=0.6, by_image=tuple(0.5 + gain for gain in gains))
    worse = replace(best, score=0.4)
    first, *rest = _choice_first([default, worse, best])
    assert (first is best) == (chosen == "best") and rest[-1] is worse


def test_noise_scores_below_a_find(segmenter, cases):
    """At the first block and after one step the map is nothing yet: the models disagree, or answer otherwise again."""
    nothing = search_without_masks(segmenter, cases, Space((0,), (0.1, 0.1), (1, 1)), trials=2)
    assert nothing[0].default and nothing[0].score > nothing[1].score + 0.1


def test_the_share_of_the_gap(segmenter, cases):
    default = search_without_masks(segmenter, cases[:1], Space((3,)), trials=1)[0]
    trial = replace(default, default=False)
    worse, better, best = (replace(trial, dsc=default.dsc + more) for more in (-0.1, 0.05, 0.1))
    assert share_of_gap_closed([better, default, best]) == pytest.approx(0.5)
    assert share_of_gap_closed([worse, best, default]) == pytest.approx(-1)
    assert share_of_gap_closed([default, worse]) is None


@pytest.mark.parametrize("arguments", [((),), ((3,), (0, 1)), ((3,), (1, 0.1)), ((3,), (0.1, 1), (0, 5))])
def test_a_space_without_settings_is_refused(arguments):
    with pytest.raises(InputError):
        Space(*arguments)


@pytest.mark.parametrize("masks", [False, True])
def test_the_command_searches_a_folder_of_images(run, cases, tmp_path, masks):
    (tmp_path / "images").mkdir(), (tmp_path / "masks").mkdir()
    for at, case in enumerate(cases):
        Image.fromarray(case.image).save(tmp_path / "images" / f"{at}.png")
        Image.fromarray(case.truth.astype(np.uint8) * 255).save(tmp_path / "masks" / f"{at}.png")
    truth = (tmp_path / "masks", "--without-masks") if masks else ()
    ask = ("search", tmp_path / "images", *truth, "-p", "brain tumor", "--trials", 2, "--layers", "3")
    code, out, err = run(*ask, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["cases"] == 2 and len(found["trials"]) == 2
    assert all((trial["dsc"] is not None) == masks for trial in found["trials"])
    code, out, err = run(*ask)
    assert code == 0 and "judged by the models" in out and ("Compared with the masks" in out) == masks
    assert "1 of 2: the model's own settings" in err and "2 of 2: layer 3" in err, "no terminal: a line for each trial"
    code, out, err = run(*ask[:-1], "4", "--trials", 1)
    assert code == 2 and "from 0 to 3 for M2IB, got 4" in err, "also where only the default would be tried"


def test_what_the_masks_say_is_in_plain_words_and_the_choice_of_steps_is_shown():
    default = LabelFreeTrial(7, 0.3, 12, 0.9, 0.9, 0.9, 0.9, 0.7, default=True, earliest=8)
    other = replace(default, default=False, score=0.8, dsc=0.75, steps=5, earliest=5)
    assert _row(default, True)[:4] == ("default", "7", "0.3", "8-12, by agreement") and _row(other, True)[3] == "5"
    assert _by_masks([default, other]) == (
        "Compared with the masks, the default settings reach a DSC of 0.700; the best of those tried reach 0.750 "
        "(layer 7, beta 0.3, steps 5)."
    )
    assert "first row (default: 0.700) reach a DSC of 0.750; the best" in _by_masks([other, default])
    assert "none of those tried is better" in _by_masks([default, replace(other, dsc=0.704)])


def test_a_default_by_agreement_is_told_as_one(segmenter, cases):
    by_agreement = segmenter.with_settings(segmenter.settings.with_saliency(steps=6, earliest=4))
    (trial,) = search_without_masks(by_agreement, cases[:1], Space((3,)), trials=1)
    assert trial.step == "4-6, by agreement"


def test_without_masks_a_folder_is_needed(run, tmp_path):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "gone", tmp_path / "empty"):
        assert run("search", place, "-p", "lungs")[0] == 2
