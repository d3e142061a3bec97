"""What the user is told of the wording of a prompt: words that the model does not know, and negations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from MedCLIPSAMLib.errors import PromptError
from MedCLIPSAMLib.propagation.propagate import propagate
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.prompts import load_prompt_sets
from MedCLIPSAMLib.segmentation.segmenter import TextSegmenter, load_segmenter
from MedCLIPSAMLib.segmentation.wording import says_absent


@pytest.fixture(scope="module")
def segmenter() -> TextSegmenter:
    segmenter = load_segmenter("demo", "demo", "cpu")
    segmenter.set_image(np.array(Image.open(resource_path("samples/breast_us.png")).convert("RGB")))
    return segmenter


def test_words_that_the_model_does_not_know_are_named(segmenter: TextSegmenter) -> None:
    result = segmenter.segment("breast tumor xylophone", negative="zeppelin lung")
    assert result.found
    assert result.message.startswith("Found 'breast tumor xylophone'")
    assert result.notes == ("Words that the model 'demo' does not know were left out: xylophone, zeppelin.",)
    assert result.text == f"{result.message} {result.notes[0]}"


def test_words_that_the_model_does_not_know_change_nothing(segmenter: TextSegmenter) -> None:
    result, alone = segmenter.segment("xylophone breast tumor xylophones"), segmenter.segment("breast tumor")
    assert result.where.presence == alone.where.presence
    np.testing.assert_array_equal(result.mask, alone.mask)


def test_a_known_word_one_slip_away_is_suggested_and_the_prompt_stays(segmenter: TextSegmenter) -> None:
    result = segmenter.segment("brest tumor")
    assert result.prompt == "brest tumor"
    assert result.notes == (
        "The models were measured on breast tumor, brain tumor, lungs, lung nodule only: "
        "check whether this mask shows 'brest tumor'.",
        "Words that the model 'demo' does not know were left out: brest. Did you mean 'breast'?",
    )
    with pytest.raises(PromptError, match="knows no word") as refused:
        segmenter.segment("brest")
    assert refused.value.remedy.startswith("Did you mean 'breast'?")


def test_a_prompt_of_known_words_gets_no_note(segmenter: TextSegmenter) -> None:
    result = segmenter.segment("breast tumor")
    assert result.message.startswith("Found 'breast tumor': score") and ")." in result.message
    assert result.notes == () and result.text == result.message


@pytest.mark.parametrize(
    "prompt",
    [
        "not a tumor",
        "No breast tumor",
        "without  tumor",
        "there is no tumor",
        "absence of tumor",
        "an image without a tumor",
        "tumor is absent",
        "the tumor is not seen",
    ],
)
def test_what_is_not_there_is_not_segmented(segmenter: TextSegmenter, prompt: str) -> None:
    """Also where the threshold of presence is off and something is outlined for every other prompt."""
    always = segmenter.with_settings(replace(segmenter.settings, presence_threshold=0.0))
    for result in (segmenter.segment(prompt), always.segment(prompt)):
        assert not result.found and not result.mask.any() and result.score == 0
        assert f"Nothing found for '{prompt}': it says what is not there" in result.message
        assert "negative prompt" in result.message


def test_a_negation_leaves_the_other_prompts_alone(segmenter: TextSegmenter) -> None:
    alone = segmenter.segment("breast tumor")
    (together,) = segmenter.segment_each(["breast tumor", "not a tumor"])
    assert np.array_equal(together["breast tumor"].mask, alone.mask)
    assert not together["not a tumor"].found


def test_a_negation_on_a_stack_finds_nothing(segmenter: TextSegmenter) -> None:
    image = np.array(Image.open(resource_path("samples/breast_us.png")).convert("RGB"))
    results = propagate(segmenter, 3, lambda k: image, "not a tumor", np.full(3, 0.9))
    assert [result.found for result in results.values()] == [False]
    assert "says what is not there" in next(iter(results.values())).message


def test_a_description_with_a_negation_in_it_is_segmented_with_a_note(segmenter: TextSegmenter) -> None:
    result = segmenter.segment("breast tumor without shadow")
    assert "says what is not there" not in result.message
    assert len(result.notes) == 1 and "hardly understands 'without'" in result.notes[0]


def test_shipped_prompts_are_no_negations() -> None:
    for prompt_set in load_prompt_sets().values():
        texts = [text for style in prompt_set.styles.values() for prompts in style.values() for text in prompts]
        assert not [text for text in [prompt_set.target, *texts] if says_absent(text)]


@pytest.mark.parametrize("prompt", ["nodule", "node", "nose", "notch", "non-small cell lung cancer", "normal lung"])
def test_words_that_begin_alike_are_no_negations(prompt: str) -> None:
    assert not says_absent(prompt)


@pytest.mark.parametrize(
    "prompt", ["kein Tumor", "sans tumeur", "pas de masse", "sin tumor", "nessun tumore", "geen tumor"]
)
def test_a_denial_in_another_language_names_nothing_either(prompt):
    assert says_absent(prompt)
