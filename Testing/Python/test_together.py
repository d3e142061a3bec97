"""Several images, prompts and objects at once, as on a GPU, give what each gives alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from recording_reply import RecordingReply
from run_volume import run_volume

from MedCLIPSAMLib.errors import InputError, PromptError
from MedCLIPSAMLib.experiments.phantom_benchmark import to_rgb
from MedCLIPSAMLib.experiments.volume_benchmark import WINDOW, volume_of
from MedCLIPSAMLib.phantoms.dataset import make_phantom
from MedCLIPSAMLib.phantoms.volumes import make_volume
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.sam_prompts import SamPromptSettings
from MedCLIPSAMLib.segmentation.segmenter import IMAGES_AT_ONCE, load_segmenter
from MedCLIPSAMLib.volumes import SliceStack
from MedCLIPSAMLib.worker.engine import Engine
from MedCLIPSAMLib.worker.protocol import Message

pytestmark = pytest.mark.gpu

PROMPTS = ["brain tumor", "brain"]


@pytest.fixture(scope="module")
def segmenter():
    return load_segmenter()


@pytest.fixture()
def batched(segmenter):
    return segmenter.with_settings(replace(segmenter.settings, at_once=4))


@pytest.fixture(scope="module")
def heads():
    """Images with and without a tumour."""
    return [to_rgb(make_phantom("validation", 40 + index, "MR", index % 2)) for index in range(5)]


def alone(segmenter, image, prompt, negative=None):
    first = segmenter.with_settings(replace(segmenter.settings, at_once=0))
    first.set_image(image)
    return first.segment(prompt, negative)


def apart(first, second):
    """Pixels in which two masks differ: one on an edge may round to the other side."""
    return int((first != second).sum())


def assert_same(first, second):
    assert first.prompt == second.prompt
    assert np.abs(first.where.saliency - second.where.saliency).max() < 1e-4
    assert first.where.presence.probability == pytest.approx(second.where.presence.probability, abs=1e-4)
    assert apart(first.coarse, second.coarse) <= 2
    if apart(first.coarse, second.coarse):
        return  # another box, other points
    assert first.found == second.found and first.message.partition(":")[0] == second.message.partition(":")[0]
    assert first.score == pytest.approx(second.score, abs=1e-4)
    assert np.array_equal(first.sam_prompts.boxes, second.sam_prompts.boxes)
    assert np.array_equal(first.sam_prompts.points, second.sam_prompts.points)
    assert apart(first.mask, second.mask) <= 2
    assert np.allclose(first.predicted_iou, second.predicted_iou, atol=1e-4)


@pytest.mark.parametrize("kind", ["boxes", "points", "both"])
@pytest.mark.parametrize("negative", [None, "skull"])
def test_images_and_prompts_together_give_what_each_gives_alone(batched, heads, kind, negative):
    points = SamPromptSettings(kind, positive=3, negative=2)
    batched = batched.with_settings(replace(batched.settings, prompts=points, presence_threshold=0.1))
    batched.set_images(heads)
    together = batched.segment_each(PROMPTS, negative)
    assert [list(results) for results in together] == [PROMPTS] * len(heads)
    found = [result.found for results in together for result in results.values()]
    assert any(found) and sum(len(result.sam_prompts) for results in together for result in results.values()) > 5
    for image, results in zip(heads, together):
        for prompt in PROMPTS:
            assert_same(results[prompt], alone(batched, image, prompt, negative))


def test_objects_of_several_images_share_a_call_of_the_decoder(batched, heads, monkeypatch):
    sizes = []
    decoder = batched.sam.sam_mask_decoder.forward
    keep = lambda *given, **named: sizes.append(len(named["image_embeddings"])) or decoder(*given, **named)
    monkeypatch.setattr(batched.sam.sam_mask_decoder, "forward", keep)
    batched.set_images(heads)
    results = batched.segment_each(["brain tumor"])
    objects = sum(len(found["brain tumor"].sam_prompts) for found in results if found["brain tumor"].message[0] == "F")
    assert sizes == [objects] and objects > 1


def test_prompts_with_settings_of_their_own_keep_them_together(batched, heads):
    settings = replace(batched.settings, by_word={"tumor": {"steps": 4}}, presence_threshold=0.0)
    batched = batched.with_settings(settings)
    batched.set_images(heads[:2])
    together = batched.segment_each(PROMPTS)
    for image, results in zip(heads, together):
        for prompt in PROMPTS:
            assert_same(results[prompt], alone(batched, image, prompt))


def test_the_seconds_of_what_was_done_together_are_shared_out(batched, heads):
    batched.set_images(heads)
    results = [results["brain tumor"] for results in batched.segment_each(["brain tumor"])]
    requested = [result for result in results if result.found]
    assert len({result.seconds["saliency"] for result in results}) == 1
    assert all(set(result.seconds) == {"saliency", "embedding", "mask"} for result in requested)
    assert all(set(result.seconds) == {"saliency"} for result in results if not result.found)


@pytest.mark.parametrize("strategy", ["slices", "memory"])
def test_a_volume_by_several_slices_at_once_is_the_same(batched, strategy):
    volume = volume_of(make_volume("validation", 1, "MR", 1))
    slices = range(8, 14)
    notices = []
    parts_of = RunContext(lambda progress: notices.append((progress.fraction, progress.message)))
    together = run_volume(batched, volume, PROMPTS, slices, parts_of, window=WINDOW, strategy=strategy)
    settings = replace(batched.settings, at_once=0)
    plain = run_volume(batched, volume, PROMPTS, slices, window=WINDOW, strategy=strategy, settings=settings)
    for prompt in PROMPTS:
        first, second = together.results[prompt], plain.results[prompt]
        assert list(first) == list(second)
        assert all(apart(first[k].mask, second[k].mask) <= max(2, 0.01 * second[k].mask.sum()) for k in first)
        assert all(first[k].score == pytest.approx(second[k].score, abs=0.01) for k in first)
    assert [fraction for fraction, _ in notices] == sorted(fraction for fraction, _ in notices)
    if strategy == "slices":
        assert notices[0][1] == "slices 8 to 11: brain tumor, brain"


def test_the_next_slices_are_read_while_these_are_worked_on(batched, monkeypatch):
    volume, read = volume_of(make_volume("validation", 1, "MR", 1)), []
    image = SliceStack.image
    note = lambda stack, k: read.append((k, threading.current_thread() is threading.main_thread())) or image(stack, k)
    monkeypatch.setattr(SliceStack, "image", note)
    settings = replace(batched.settings, at_once=3)
    result = run_volume(batched, volume, ["brain"], range(5, 13), window=WINDOW, strategy="slices", settings=settings)
    assert list(result.results["brain"]) == list(range(5, 13))
    assert sorted(read) == [(k, k < 8) for k in range(5, 13)], "each once, the first three before anything else"


def parts_of(engine, images, **settings):
    reply = RecordingReply()
    engine.handle(Message("image", 1, {"key": "head"}, {"images": np.stack(images)}), RecordingReply())
    engine.handle(Message("segment", 1, {"image": "head", "prompts": PROMPTS, "settings": settings}), reply)
    return reply.messages


def test_the_worker_sends_the_same_parts_and_steady_progress(heads):
    engine = Engine()
    engine.handle(Message("load", 1, {"device": "cpu"}), RecordingReply())
    plain, together = parts_of(engine, heads), parts_of(engine, heads, at_once=3)
    parts = [[message for message in messages if message.type == "part"] for messages in (plain, together)]
    named = [{(message.fields["slice"], message.fields["prompt"]): message for message in some} for some in parts]
    assert named[0].keys() == named[1].keys() and len(parts[1]) == len(heads) * len(PROMPTS)
    for key, part in named[0].items():
        assert apart(part.arrays["mask"], named[1][key].arrays["mask"]) <= max(2, 0.01 * part.arrays["mask"].sum())
    fractions = [reply.fields["fraction"] for reply in together if reply.type == "progress"]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] < 1


def test_memory_that_runs_out_over_several_slices_is_answered_with_one_at_a_time(heads):
    engine = Engine()
    engine.handle(Message("load", 1, {"device": "cpu"}), RecordingReply())
    plain = parts_of(engine, heads)
    encoder, sizes = engine.segmenter.sam.image_encoder, []

    def only_one(module, given):
        sizes.append(len(given[0]))
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    encoder.register_forward_pre_hook(only_one)
    tight = parts_of(engine, heads, at_once=3, presence_threshold=0.0)
    assert max(sizes) > 1 and sizes[-1] == 1 and engine.segmenter.frugal
    assert sum(message.type == "notice" for message in tight) == 1
    assert sum(message.type == "part" for message in tight) == sum(message.type == "part" for message in plain)


def test_images_that_differ_in_size_and_no_prompts_are_refused(segmenter, heads):
    with pytest.raises(InputError, match="of one size"):
        segmenter.set_images([heads[0], heads[0][:-1]])
    with pytest.raises(InputError, match="at least one"):
        segmenter.set_images([])
    segmenter.set_images(heads[:1])
    with pytest.raises(PromptError, match="No prompt"):
        segmenter.segment_each([])
    with pytest.raises(InputError, match="'at_once'.*got -1"):
        replace(segmenter.settings, at_once=-1)


def test_what_is_chosen_for_the_device_can_be_overridden(batched, monkeypatch):
    assert batched.batch_size == 4 and "images 4 at once" in batched.describe_device()
    left_to_it = batched.with_settings(replace(batched.settings, at_once=0))
    monkeypatch.setattr(batched.clip, "device", torch.device("cpu"))
    assert left_to_it.batch_size == 1 and "images one by one" in left_to_it.describe_device()
    monkeypatch.setattr(batched.clip, "device", torch.device("mps"))
    assert left_to_it.batch_size == IMAGES_AT_ONCE
