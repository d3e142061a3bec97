"""The main job with the shipped demo models: a prompt becomes a mask at the right place, or "nothing found"."""

import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from run_volume import run_volume

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.evaluation.metrics import dsc
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.experiments.search import SearchCase, search
from MedCLIPSAMLib.models.sam_image_batch import SamImageBatch
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation import segmenter as module
from MedCLIPSAMLib.segmentation.mask_prediction import predict_masks
from MedCLIPSAMLib.segmentation.mask_prompt import mask_box, mask_logits
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings
from MedCLIPSAMLib.segmentation.sam_prompts import SamPrompts, follows_points
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter
from MedCLIPSAMLib.segmentation.settings import Settings, default_settings
from MedCLIPSAMLib.volumes import Geometry, SliceStack, Volume

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def segmenter(device):
    return load_segmenter("demo", "demo", device)


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_outlines_its_target_better_than_chance(segmenter, name):
    task, scores = TASKS[name], []
    for index in range(8):
        phantom = task.phantom("validation", index)
        segmenter.set_image(to_rgb(phantom))
        scores.append(dsc(segmenter.segment(task.prompt).mask, task.truth(phantom)))
    assert np.mean(scores) > 0.55


@pytest.mark.parametrize("prompt", ["sitting on a chair", "a dog in the park", "kidney"])
def test_what_is_not_there_is_not_found(segmenter, prompt):
    phantom = make_phantom("validation", 1, "MR", 1)
    segmenter.set_image(to_rgb(phantom))
    nonsense, meant = segmenter.segment(prompt), segmenter.segment("brain tumor")
    assert not nonsense.found and nonsense.score == 0 and "Nothing found" in nonsense.message
    assert meant.found and meant.where.presence.probability > 0.5 > 2 * nonsense.where.presence.probability


def test_an_image_without_a_tumour_comes_out_empty(segmenter):
    empty = 0
    for index in range(10):
        segmenter.set_image(to_rgb(make_phantom("validation", 500 + index, "MR", 0)))
        result = segmenter.segment("brain tumor")
        empty += not result.found
        assert result.found or not result.mask.any()
    assert empty >= 9


@contextmanager
def default_type(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


MODES = {
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "float64": lambda: default_type(torch.float64),
    "bfloat16": lambda: default_type(torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_program_with_settings_of_its_own_for_torch_gets_the_same_result(segmenter, mode):
    image = to_rgb(make_phantom("validation", 2, "US", 1))
    segmenter.set_image(image)
    expected = segmenter.segment("breast tumor")
    with mode():
        other = load_segmenter("demo", "demo", segmenter.clip.device)
        other.text_features("breast tumor")  # is kept
        other.set_image(image)
        found = other.segment("breast tumor")
    assert np.array_equal(found.mask, expected.mask) and found.score == expected.score
    segmenter.set_image(image)
    assert np.array_equal(segmenter.segment("breast tumor").mask, expected.mask)


@pytest.mark.parametrize(
    "modality, prompt, negative",
    [("XR", "lungs", "left lung"), ("CT", "lungs", "heart"), ("MR", "brain", "ventricles")],
)
def test_a_negative_prompt_takes_its_region_out_of_the_saliency(segmenter, modality, prompt, negative):
    for index in range(3):
        phantom = make_phantom("validation", index, modality, 0)
        segmenter.set_image(to_rgb(phantom))
        region = phantom.organs[negative]
        plain, without = segmenter.saliency(prompt), segmenter.saliency(prompt, negative=negative)
        share = lambda where: where.saliency[region].sum() / where.saliency.sum()
        assert share(without) < 0.5 * share(plain)


def test_a_result_keeps_no_map_but_its_own(segmenter):
    """With a negative prompt a map has all pixels, and those of several steps were tried."""
    steps = segmenter.with_settings(segmenter.settings.with_saliency(steps=4, earliest=2))
    steps.set_image(to_rgb(TASKS["us_tumour"].phantom("validation", 0)))
    values = steps.segment("breast tumor", "fat lobule").where.map.values
    assert values.shape == (128, 128) and values.base is None


def test_a_style_of_the_prompt_sets_replaces_the_name_of_the_target(segmenter):
    changed = segmenter.with_settings(replace(segmenter.settings, style="P4"))
    changed.set_image(to_rgb(make_phantom("validation", 1, "MR", 1)))
    assert changed.segment("brain tumor").found
    with pytest.raises(PromptError, match="style P4"):
        changed.segment("kidney")


@pytest.mark.parametrize(
    "prompt, words",
    [("  ", "empty"), ("xyzzy qwerty", "no word"), ("脑瘤 🧠", "no word"), ("tumor " * 200, "202 tokens")],
)
def test_prompts_that_cannot_be_read_are_refused(segmenter, prompt, words):
    segmenter.set_image(to_rgb(make_phantom("validation", 1, "MR", 1)))
    with pytest.raises(PromptError, match=words):
        segmenter.segment(prompt)


def test_a_constant_image_gives_nothing_and_no_error(segmenter):
    segmenter.set_image(np.full((64, 80, 3), 7, np.uint8))
    assert not segmenter.segment("brain tumor").found


def test_a_mask_lies_on_the_lesion_in_a_flipped_oblique_volume(segmenter):
    phantom = make_phantom("validation", 1, "MR", 1)
    stored = phantom.image[::-1, ::-1]
    direction = (-0.995, -0.0998, 0.0, 0.0998, -0.995, 0.0, 0.0, 0.0, 1.0)
    oblique = Geometry(spacing=(1.5, 1.5, 4.0), direction=direction)  # I runs to the right, J to the front, 5.7 degrees
    volume = Volume(np.repeat(stored[None], 3, axis=0), oblique, "oblique")
    result = run_volume(segmenter, volume, ["brain tumor"], [1])
    truth = np.zeros(volume.shape, bool)
    truth[1] = phantom.lesion_mask[::-1, ::-1]
    mask = result.segments()[0].mask
    assert mask.shape == (3, 128, 128) and not mask[[0, 2]].any()
    image = SliceStack(volume).image(1)[..., 0].astype(float)
    assert np.corrcoef(image.ravel(), phantom.image.ravel().astype(float))[0, 1] > 0.95
    assert dsc(mask, truth) > 0.55


@pytest.mark.parametrize("slices, words", [([5], "slice 5"), ([-1], "slice -1"), ([], "none")])
def test_slices_out_of_range_are_named(segmenter, slices, words):
    volume = Volume(np.zeros((3, 16, 16), np.uint8))
    with pytest.raises(InputError, match=words):
        run_volume(segmenter, volume, ["brain tumor"], slices)


def test_segments_carry_what_made_them(segmenter):
    phantom = make_phantom("validation", 1, "MR", 1)
    volume = Volume(phantom.image[None])
    tags = run_volume(segmenter, volume, ["brain tumor"]).segments()[0].tags
    assert (
        tags["MedCLIPSAM.Prompt"] == "brain tumor"
        and tags["MedCLIPSAM.Model"] == "demo"
        and "seed" in tags["MedCLIPSAM.Settings"]
    )


@pytest.mark.parametrize("modality, index, prompt", [("XR", 0, "lungs"), ("MR", 4, "brain tumor")])
def test_the_search_ranks_what_it_tried_and_leaves_the_settings_alone(segmenter, modality, index, prompt):
    phantom = make_phantom("validation", index, modality, None if modality == "XR" else 1)
    before = segmenter.settings
    truth = phantom.lungs_mask if prompt == "lungs" else phantom.lesion_mask
    cases = [SearchCase(to_rgb(phantom), prompt, truth)]
    trials = search(segmenter, cases, layers=[0, 3, 3], betas=[0.1], steps=[4, 10])
    assert len(trials) == 4 and segmenter.settings == before
    assert [trial.dsc for trial in trials] == sorted((trial.dsc for trial in trials), reverse=True)
    assert trials[0].layer == 3
    tried = []
    with pytest.raises(InputError, match="'beta': expected a value greater than or equal to 0"):
        search(segmenter, cases, [3], [0.1, -1.0], context=RunContext(tried.append))
    assert not tried


def test_points_outweigh_the_mask_that_they_correct(segmenter):
    """A mask beside the tumour and a click in the tumour: over phantoms the click is nearly always followed, which the
    mask and the box alone would not lead to."""
    followed = led = 0
    for index in range(8):
        phantom = make_phantom("validation", 40 + index, "MR", 1)
        segmenter.set_image(to_rgb(phantom))
        lesion = phantom.lesion_mask
        wrong = np.roll(lesion, 30 if np.argwhere(lesion)[:, 1].mean() < 64 else -30, axis=1)
        box = mask_box(wrong)[None]
        logits = mask_logits(wrong, segmenter.sam.image_size // 4)[None]
        inside = np.argwhere(lesion)[lesion.sum() // 2][::-1] + 0.5
        point, label = np.array([[inside]], np.float32), np.ones((1, 1), np.int32)
        corrected, _quality = segmenter.predict_mask(SamPrompts(box, point, label), logits=logits)
        alone, _quality = segmenter.predict_mask(SamPrompts(box), logits=logits)
        followed += follows_points(corrected, point[0], label[0]).all()
        led += follows_points(alone, point[0], label[0]).all()
    assert led <= 2 and followed >= 7


def test_what_marks_nothing_of_the_image_is_refused(segmenter):
    segmenter.set_image(to_rgb(make_phantom("validation", 40, "MR", 1)))
    side = segmenter.sam.image_size // 4
    box = lambda *edges: SamPrompts(np.array([edges]))
    for given, logits, words in (
        (SamPrompts(), None, "No box and no point"),
        (box(-500, -500, -400, -400), None, "outside of the image of 128 x 128"),
        (box(10, 10, 60, 60), np.full((1, side, side), np.nan, np.float32), "finite mask logits"),
    ):
        with pytest.raises(InputError, match=words):
            segmenter.predict_mask(given, logits=logits)


def test_a_mask_to_start_from_may_be_of_any_numbers(segmenter):
    phantom = make_phantom("validation", 40, "MR", 1)
    segmenter.set_image(to_rgb(phantom))
    box = SamPrompts(mask_box(phantom.lesion_mask)[None])
    logits = mask_logits(phantom.lesion_mask, segmenter.sam.image_size // 4)[None]
    expected, _ = segmenter.predict_mask(box, logits)
    as_received = np.frombuffer(logits.tobytes(), np.float32).reshape(logits.shape)  # not to be written to
    for given in (logits.tolist(), logits.astype(np.float64), torch.from_numpy(logits), as_received):
        with warnings.catch_warnings(action="error"):
            assert np.array_equal(segmenter.predict_mask(box, given)[0], expected)


def test_results_can_be_found_in_lists_and_sets(segmenter):
    segmenter.set_image(to_rgb(make_phantom("validation", 2, "US", 1)))
    first, second = segmenter.segment("breast tumor"), segmenter.segment("breast tumor")
    for a, b in ((first, second), (first.where, second.where), (first.sam_prompts, second.sam_prompts)):
        assert [b, a].index(a) == 1 and len({a, b}) == 2


def test_settings_of_m2ib_by_word_and_what_is_set_by_hand(segmenter):
    """The first word that the prompt holds counts; what the user sets holds for every prompt."""
    settings = Settings(M2IBSettings(beta=0.3, steps=15), by_word={"Nodule": {"steps": 10}, "brain": {"beta": 2.0}})
    of = lambda prompt: (settings.saliency_for(prompt).beta, settings.saliency_for(prompt).steps)
    assert of("lungs") == (0.3, 15) and of("Lung Nodules") == of("a nodule") == (0.3, 10)
    assert of("brain tumor") == (2.0, 15) and of("brainstorm") == (0.3, 15)
    by_hand = settings.with_saliency(steps=4)
    assert by_hand.saliency_for("nodule").steps == 4 and by_hand.saliency_for("brain").beta == 2.0
    assert default_settings("biomedclip").saliency_for("brain MRI").beta == 2.0  # the authors' settings by task
    assert default_settings("biomedclip").saliency_for("breast tumor").beta == 1.0


def test_bfloat16_is_chosen_for_large_models_on_devices_that_have_it_and_can_be_refused(segmenter, monkeypatch):
    with_precision = lambda name: segmenter.with_settings(replace(segmenter.settings, precision=name))
    assert with_precision("auto").settings.precision == "f32", "the demo models are small"
    monkeypatch.setattr(module, "LARGE", 1000)
    for fast, expected in ((True, "bf16"), (False, "f32")):
        monkeypatch.setattr(module, "fast_bfloat16", lambda device, fast=fast: fast)
        assert with_precision("auto").settings.precision == expected
        assert with_precision("f32").settings.precision == "f32"
    with pytest.raises(InputError, match="'precision'.*got 'f8'"):
        with_precision("f8")


def test_bfloat16_outlines_the_same(segmenter):
    rounded = segmenter.with_settings(replace(segmenter.settings, precision="bf16"))
    task, agreement = TASKS["us_tumour"], []
    for index in range(4):
        segmenter.set_image(to_rgb(task.phantom("validation", index)))
        exact = segmenter.segment(task.prompt).where.saliency
        mask = segmenter.segment(task.prompt).mask
        rounded.set_image(to_rgb(task.phantom("validation", index)))
        result = rounded.segment(task.prompt)
        agreement.append(dsc(result.mask, mask))
        assert not np.array_equal(result.where.saliency, exact), "products in bfloat16 round"
    assert np.mean(agreement) > 0.95, agreement


def test_a_mask_that_is_changed_before_it_is_enlarged_comes_out_so(segmenter):
    """Not square, and larger than SAM 2's own mask: the part that is left lies where it does on the whole image."""
    images = SamImageBatch(segmenter.sam)
    images.set(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)[None])
    boxes, requested = np.array([[30, 40, 200, 150], [10, 10, 90, 90]], np.float32), []
    plain, quality = images.masks([0, 0], boxes)

    def change(index, mask):
        requested.append(index)
        left = np.zeros_like(mask)
        height, width = mask.shape
        left[height // 4 : height // 2, width // 2 : 3 * width // 4] = True
        return mask if index else left

    masks, same = images.masks([0, 0], boxes, change_mask=change)
    assert sorted(requested) == [0, 1] and np.array_equal(quality, same) and np.array_equal(masks[1], plain[1])
    truth = np.zeros((200, 300), bool)
    truth[50:100, 150:225] = True
    assert dsc(masks[0], truth) > 0.9


def test_masks_are_tidied_alike_before_and_after_they_are_enlarged(segmenter):
    both = []
    for index in range(6):
        phantom = make_phantom("validation", index, "MR", 1)
        segmenter.set_image(np.kron(to_rgb(phantom), np.ones((2, 2, 1), np.uint8)))
        where = segmenter.segment("brain tumor")
        images = segmenter._require_images().sam
        both += [predict_masks(images, [0], [where.sam_prompts], 0.05, enlarged)[0][0] for enlarged in (False, True)]
    assert sum(mask.any() for mask in both) >= 8
    assert all(dsc(first, second) > 0.97 for first, second in zip(both[::2], both[1::2]))


def test_a_denial_is_said_to_fit_better_only_where_it_does(segmenter):
    """A high limit alone makes no denial fit."""
    phantom = make_phantom("validation", 1, "MR", 1)
    segmenter.set_image(to_rgb(phantom))
    strict = segmenter.with_settings(replace(segmenter.settings, presence_threshold=1.0))
    found = strict.segment("brain tumor")
    assert found.where.presence.probability > 0.5 and "below the limit of 1.0" in found.message
    assert "fits better" not in found.message
    segmenter.set_image(to_rgb(make_phantom("validation", 2, "MR", 0)))
    assert "fits better" in segmenter.segment("brain tumor").message
