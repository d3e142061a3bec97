"""Recordings: M2IB's search can be recorded, a recording is used when it does the same, and only then."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from recorders import Reads, Traced

from MedCLIPSAMLib.errors import Cancelled
from MedCLIPSAMLib.models.acceleration.captures import MAX_GRAPHS, Captures
from MedCLIPSAMLib.models.acceleration.memory import release
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation.saliency import MAX_NOISES, M2IBSettings, _adam, m2ib, normalize

pytestmark = pytest.mark.gpu

SETTINGS = M2IBSettings(2, steps=4, samples=3)


@pytest.fixture(scope="module")
def clip():
    return load_clip("demo")


def pixels_of(clip, seed, count=1):
    images = np.random.default_rng(seed).integers(0, 256, (count, 96, 96, 3), np.uint8)
    return clip.preprocess(images)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_recorded_search_gives_the_map_of_every_other_image_and_text(clip, bfloat16):
    record = Traced()
    captures = Captures(record)
    texts = clip.encode_text(["brain tumor", "lungs", "nodule"])
    for seed in range(4):
        text = texts[seed % 3 :][:1]
        found = m2ib(clip, pixels_of(clip, seed), text, SETTINGS, bfloat16=bfloat16, captures=captures)
        plain = m2ib(clip, pixels_of(clip, seed), text, SETTINGS, bfloat16=bfloat16)
        assert torch.allclose(found.maps, plain.maps, rtol=1e-5, atol=1e-3)
    assert (record.made, record.replayed) == (2, 6), (
        "blocks and search: recorded at the second call, checked, used twice"
    )


def test_pairs_are_filled_up_to_few_sizes_and_the_rest_is_cut_off(clip):
    record = Traced()
    captures = Captures(record)
    texts = clip.encode_text(["brain tumor"])
    for count in (3, 4, 3, 1, 1):
        found = m2ib(clip, pixels_of(clip, count, count), texts, SETTINGS, batch=8, captures=captures)
        plain = m2ib(clip, pixels_of(clip, count, count), texts, SETTINGS)
        assert found.maps.shape == plain.maps.shape
        assert torch.allclose(found.maps, plain.maps, rtol=1e-4, atol=1e-3)
    assert record.made == 4, "blocks and search, for four and for one"


def test_other_settings_are_recorded_anew_and_long_or_sparing_searches_are_not(clip):
    record = Traced()
    captures = Captures(record)
    text, pixels = clip.encode_text(["lungs"]), pixels_of(clip, 1)
    for settings in (SETTINGS, replace(SETTINGS, beta=0.1)):
        for _ in range(3):
            found = m2ib(clip, pixels, text, settings, captures=captures)
        assert torch.allclose(found.maps, m2ib(clip, pixels, text, settings).maps, rtol=1e-4, atol=1e-3)
    assert record.made == 3, "the blocks once, the search for each of both"
    for settings, more in (
        (replace(SETTINGS, steps=MAX_NOISES + 2, samples=1), {}),
        (replace(SETTINGS, steps=1), {}),
        (SETTINGS, {"noise_batch": 1}),
    ):
        for _ in range(2):
            m2ib(clip, pixels, text, settings, captures=captures, **more)
    assert record.made == 3


def test_a_recording_keeps_what_it_reads_where_it_lies(clip):
    """A CUDA graph knows addresses; memory that is let go of would be another tensor's at the next replay."""
    reads = Reads()
    captures, text, pixels = Captures(reads), clip.encode_text(["lungs"]), pixels_of(clip, 1)
    for _ in range(2):
        m2ib(clip, pixels, text, SETTINGS, captures=captures)
    m2ib(clip, pixels, text, replace(SETTINGS, seed=5))  # whose noise takes the place of the other
    gc.collect()
    assert not [addresses for addresses in reads.read.values() if addresses.expired()]
    del captures
    gc.collect()
    gone = [addresses for addresses in reads.read.values() if addresses.expired()]
    assert len(gone) == SETTINGS.steps - 1, "the noise of every update, which nothing else keeps"


def test_a_recorded_search_can_be_cancelled(clip):
    context, captures = RunContext(is_cancelled=lambda: True), Captures(Traced())
    with pytest.raises(Cancelled):
        m2ib(clip, pixels_of(clip, 1), clip.encode_text(["lungs"]), SETTINGS, context, captures=captures)


def test_a_recording_that_gives_something_else_is_not_used(caplog):
    wrong = lambda function, given: lambda *tensors: (function(*tensors)[0] * 1.01,)
    captures, double = Captures(wrong), lambda tensor: (tensor * 2,)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert captures.run("double", double, torch.full((2,), float(number)))[0].tolist() == [2.0 * number] * 2
    assert caplog.text.count("is not used") == 1


def test_memory_that_runs_out_in_a_recording_lets_go_of_the_others():
    record = Traced()

    def too_large(function, given):
        if given[0].shape[1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return record(function, given)

    captures, double = Captures(too_large), lambda tensor: (tensor * 2,)
    for length in (1, 2):
        for _ in range(3):
            assert captures.run("double", double, torch.ones(1, length))[0].tolist() == [[2.0] * length]
    assert record.made == 1 and not captures.count
    assert not record.replays[0]()


def test_a_computation_that_cannot_be_recorded_is_told_once_and_goes_on_without_being_filled_up(caplog):
    lengths = []

    def fails(function, given):
        raise RuntimeError("operation not permitted when stream is capturing")

    def double(tensor):
        lengths.append(len(tensor))
        return (tensor * 2,)

    captures = Captures(fails)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert captures.run("double", double, torch.full((5,), float(number)))[0].tolist() == [2.0 * number] * 5
    assert lengths == [5, 8, 5, 5] and caplog.text.count("stream is capturing") == 1


def test_what_is_run_once_does_not_push_out_recordings():
    record = Traced()
    captures, double = Captures(record), lambda tensor: (tensor * 2,)
    for _ in range(2):
        captures.run("double", double, torch.ones(1, 1))
    for length in range(2, 3 * MAX_GRAPHS):
        captures.run("double", double, torch.ones(1, length))
    captures.run("double", double, torch.ones(1, 1))
    assert (record.made, record.replayed) == (1, 2)


def test_only_the_latest_recordings_are_kept():
    record = Traced()
    captures, double = Captures(record), lambda tensor: (tensor * 2,)
    for length in range(1, MAX_GRAPHS + 2):
        for _ in range(2):
            captures.run("double", double, torch.ones(1, length))
    assert record.made == MAX_GRAPHS + 1
    captures.run("double", double, torch.ones(1, MAX_GRAPHS + 1))
    assert record.made == MAX_GRAPHS + 1, "the latest is there"
    for _ in range(2):
        captures.run("double", double, torch.ones(1, 1))
    assert record.made == MAX_GRAPHS + 2, "the first had to go"


def test_steps_are_those_of_torch_to_the_bit():
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(5, 7, generator=generator)
    theirs = ours.clone().requires_grad_(True)
    step, optimizer = _adam(ours, 0.7), torch.optim.Adam([theirs], lr=0.7)
    for _ in range(12):
        theirs.grad = torch.randn(5, 7, generator=generator)
        optimizer.step()
        step(theirs.grad.clone())
        assert torch.equal(ours, theirs.detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cuda_graph_gives_the_map_of_the_plain_search(monkeypatch, caplog):
    replays, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(graph) or replay(graph))
    clip = load_clip("demo", "cuda")
    captures, text = Captures(), clip.encode_text(["brain tumor"])
    on_cpu = load_clip("demo")
    for seed in range(4):
        found = m2ib(clip, pixels_of(clip, seed), text, SETTINGS, captures=captures)
        plain = m2ib(clip, pixels_of(clip, seed), text, SETTINGS)
        slow = m2ib(on_cpu, pixels_of(on_cpu, seed), text.cpu(), SETTINGS)
        assert (normalize(plain.maps.cpu()) - normalize(slow.maps)).abs().mean() < 0.02
        assert torch.allclose(found.maps, plain.maps, rtol=1e-4, atol=1e-3)
    assert len(replays) == 6, "blocks and search: checked, then used twice"
    assert "CUDA graph" not in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_after_a_recording_that_fails_the_gpu_works_as_before(caplog):
    captures, reads_a_value = Captures(), lambda tensor: (tensor * tensor.sum().item(),)
    for _ in range(3):
        assert captures.run("value", reads_a_value, torch.full((2,), 3.0, device="cuda"))[0].tolist() == [18.0] * 2
    assert caplog.text.count("Not recorded") == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    release()
    assert torch.randn(3, device="cuda").isfinite().all()
    for number in range(3):
        (doubled,) = captures.run("double", lambda tensor: (tensor * 2,), torch.tensor([float(number)], device="cuda"))
        assert doubled.tolist() == [2.0 * number]
