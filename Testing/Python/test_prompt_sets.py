"""The shipped prompt sets: complete, usable by the demo model, and refused where something is missing."""

from dataclasses import replace

import pytest
import torch

from MedCLIPSAMLib.errors import PromptError
from MedCLIPSAMLib.models.clip import ClipModel, build_clip
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.pipeline.request import SegmentationRequest
from MedCLIPSAMLib.pipeline.segment_volume import segment_volume
from MedCLIPSAMLib.resources import resource_path
from MedCLIPSAMLib.segmentation.presence import list_absence_texts
from MedCLIPSAMLib.segmentation.prompts import (
    ANY_CLASS,
    RememberedTexts,
    encode_ensemble,
    load_prompt_sets,
)
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.segmentation.settings import default_settings
from MedCLIPSAMLib.volumes import Volume

TASKS = ("us_tumour", "mri_tumour", "xray_lungs", "ct_lungs")


@pytest.fixture(scope="module")
def clip():
    """The demo model's tokenizer and architecture with random weights."""
    folder = resource_path("models/demo-clip")
    torch.manual_seed(0)
    return ClipModel("demo", build_clip(folder).eval().requires_grad_(False), folder)


def test_the_four_tasks_of_the_paper_are_there():
    assert set(load_prompt_sets()) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_every_style_is_there_and_only_some_name_the_class(task):
    prompts = load_prompt_sets()[task]
    assert list(prompts.styles) == ["P0", "P1", "P2", "P3", "P4", "P5"] and prompts.modality in ("US", "MR", "XR", "CT")
    assert prompts.prompts("P0") == [prompts.target]
    assert [len(prompts.prompts(style)) for style in ("P0", "P2")] == [1, 1] and len(prompts.prompts("P4")) >= 10
    assert set(prompts.styles["P1"]) == set(prompts.styles["P3"]) == set(prompts.styles["P5"]) != {ANY_CLASS}
    assert all(len(texts) == 1 for style in ("P1", "P3") for texts in prompts.styles[style].values())


@pytest.mark.parametrize("task", TASKS)
def test_no_text_is_both_a_prompt_and_a_negative_or_there_twice(task):
    prompts = load_prompt_sets()[task]
    texts = [text for style in ("P2", "P3", "P4", "P5") for texts in prompts.styles[style].values() for text in texts]
    texts += prompts.negatives
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("task", TASKS)
def test_the_demo_model_knows_every_word(clip, task):
    prompts = load_prompt_sets()[task]
    texts = prompts.negatives + [
        text for style in prompts.styles.values() for texts in style.values() for text in texts
    ]
    assert {word for text in texts for word in clip.unknown_words(text)} == set()


def test_a_style_or_class_that_is_not_there_is_named():
    prompts = load_prompt_sets()["us_tumour"]
    with pytest.raises(PromptError, match="P0, P1.*got .P9"):
        prompts.prompts("P9")
    with pytest.raises(PromptError, match="glioma.*benign, malignant"):
        prompts.prompts("P3", "glioma")
    with pytest.raises(PromptError, match="benign, malignant"):
        prompts.prompts("P3")


def test_an_ensemble_is_the_mean_of_directions(clip):
    texts = load_prompt_sets()["mri_tumour"].prompts("P4")
    found = encode_ensemble(clip.encode_text, texts)
    raw = [clip.model.encode_text(clip.tokenize([text]))[0] for text in texts]
    mean = torch.stack([vector / vector.norm() for vector in raw]).mean(0)
    assert found.shape == mean.shape and found.norm().item() == pytest.approx(1, abs=1e-6)
    assert torch.allclose(found, mean / mean.norm(), atol=1e-5)
    assert torch.allclose(found, encode_ensemble(clip.encode_text, texts[::-1]), atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_every_prompt_of_a_set_competes_with_the_negatives_of_the_set(task):
    prompt_set = load_prompt_sets()[task]
    rivals = [set(one.negatives) for one in load_prompt_sets().values() if one.target == prompt_set.target]
    prompts = [text for style in prompt_set.styles.values() for texts in style.values() for text in texts]
    for prompt in (prompt_set.target, *prompts):
        assert list_absence_texts(prompt) == list_absence_texts(f" {prompt.upper()} ".replace(" ", "\u00a0 "))
        found = set(list_absence_texts(prompt))
        assert any(negatives and negatives <= found for negatives in rivals), prompt
    assert list_absence_texts("kidney")[0] == "no kidney"


@pytest.mark.parametrize(
    "modality, task",
    [("CT", "ct_lungs"), ("CR", "xray_lungs"), ("DX", "xray_lungs"), ("MR", "xray_lungs"), (None, "xray_lungs")],
)
def test_lungs_compete_with_the_negatives_of_the_images_modality(modality, task):
    negatives = load_prompt_sets()[task].negatives
    assert list_absence_texts("Lungs", "heart", modality) == [*negatives, "no lungs", "heart"]
    for prompt in ("brain tumor", "lung nodule", "kidney", "lungs with covid pneumonia"):
        assert list_absence_texts(prompt, modality=modality) == list_absence_texts(prompt)


def test_the_modality_of_a_volume_reaches_what_its_prompt_is_compared_with():
    settings = replace(default_settings("demo").with_saliency(steps=1), presence_threshold=1.0)  # masks take longer
    segmenter = load_segmenter("demo", "demo", "cpu", settings=settings)
    phantom = make_volume("validation", 3, "CT", 1)
    middle = len(phantom.slices) // 2
    for strategy in ("slices", "memory"):
        present = {}
        for modality in (None, "CT", "DX"):
            volume = Volume(phantom.slices[middle : middle + 2], modality=modality)
            request = SegmentationRequest(("lungs",), slices="all", strategy=strategy, window=(0.0, 255.0))
            present[modality] = [found.presence for found in segment_volume(segmenter, volume, request)]
        assert present[None] and present[None] == present["DX"] != present["CT"]
    assert segmenter.settings.modality is None and "modality" not in segmenter.settings.deciding()


def test_remembered_texts_are_those_of_the_model_and_encoded_once(clip, monkeypatch):
    texts = ["brain tumor", "lungs", "brain tumor", "a chest CT with lungs"]
    plain, requested = clip.encode_text(texts), []
    encode = clip.encode_text
    monkeypatch.setattr(
        clip, "encode_text", lambda texts, normalized: requested.extend(texts) or encode(texts, normalized)
    )
    remembered = RememberedTexts(clip)
    for chosen in ([0, 1], [2, 3, 1], [0, 1, 2, 3]):
        assert torch.allclose(remembered([texts[index] for index in chosen]), plain[chosen], atol=1e-6)
    assert requested == ["brain tumor", "lungs", "a chest CT with lungs"]
