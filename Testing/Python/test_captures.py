"""Recordings: the networks can be recorded, a recording is used when it does the same, and only then.

No CUDA graph is made here. What is recorded is traced by torch's `make_fx` in its place, whose graph too holds the
operations of one call only: were any of them chosen by a value, the trace would fail or give the first image's map.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from MedCLIPSAMLib.errors import Cancelled
from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.models import sam as sam_module
from MedCLIPSAMLib.models.acceleration.captures import MAX_GRAPHS, Captures
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import MAX_RECORDED_PROMPTS, SamInput, load_sam
from MedCLIPSAMLib.models.sam_image_batch import SamImageBatch
from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.segmentation import locate as locating
from MedCLIPSAMLib.segmentation import segmenter as segmenting
from MedCLIPSAMLib.segmentation.presence import Presence
from MedCLIPSAMLib.segmentation.saliency import MAX_NOISES, M2IBSettings, _adam, m2ib, normalize
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

pytestmark = pytest.mark.gpu

SETTINGS = M2IBSettings(2, steps=4, samples=3)


class Traced:
    """Traces in place of a CUDA graph, and counts."""

    def __init__(self):
        self.made, self.replayed = 0, 0
        self.replays: list[weakref.ref] = []

    def __call__(self, function, given):
        self.made += 1
        graph = make_fx(lambda *given: function(*given))(*given)

        def replay(*given):
            self.replayed += 1
            return graph(*given)

        self.replays.append(weakref.ref(replay))
        return replay


class Reads(TorchDispatchMode):
    """Knows, as a CUDA graph would, which memory a function reads that is neither given to it nor made by it."""

    def __call__(self, function, given):
        self.read: dict[int, StorageWeakRef] = {}
        self._made = list(given)  # what lives on has addresses that nothing else gets
        with self:
            function(*given)
        del self._made
        return lambda *tensors: function(*tensors)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = {tensor.untyped_storage()._cdata for tensor in self._made}
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in made:
                self.read[tensor.untyped_storage()._cdata] = StorageWeakRef(tensor.untyped_storage())
        result = operation(*args, **(kwargs or {}))
        self._made += [tensor for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor)]
        return result


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
        assert torch.allclose(found.kept_similarity, plain.kept_similarity, atol=1e-5)
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
        assert found.maps.shape == plain.maps.shape and found.kept_similarity.shape == (count, 1)
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


@pytest.fixture(scope="module")
def sam():
    return load_sam("demo", "cpu")


@pytest.fixture
def recorded(sam):
    """Recordings of SAM 2, which computes plainly again afterwards."""
    record = Traced()
    sam.captures = Captures(record)
    yield record
    sam.captures = None


def images_of(seed, count=1, size=96):
    return list(np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8))


def masks_of(sam, images, numbers, boxes=None, points=None, logits=None):
    """Masks and their IoU, of images that are embedded anew."""
    batch = SamImageBatch(sam)
    batch.set(images)
    batch.at_once = True
    labels = None if points is None else np.ones(points.shape[:2])
    return batch.masks(numbers, boxes, points, labels, logits)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_recorded_masks_are_those_of_every_other_image_and_prompt(sam, recorded, bfloat16, monkeypatch):
    monkeypatch.setattr(sam, "bfloat16", bfloat16)
    side = sam.image_size // 4
    boxes = np.array([[20.0, 10, 70, 60], [5, 30, 50, 90], [40, 40, 90, 80]], np.float32)
    points = np.array([[[45.0, 35.0]], [[30, 60]], [[60, 55]]], np.float32)
    start = np.random.default_rng(0).normal(size=(3, side, side)).astype(np.float32)
    asked = [
        {"boxes": boxes[:1]},
        {"boxes": boxes[1:2], "points": points[1:2]},
        {"points": points[:1], "logits": start[:1]},
        {"boxes": boxes, "logits": start},
    ]
    for prompts in asked:
        count = len(next(iter(prompts.values())))
        for seed in range(4):
            images = images_of(seed, count)
            shifted = {name: value + seed if name == "boxes" else value for name, value in prompts.items()}
            masks, quality = masks_of(sam, images, list(range(count)), **shifted)
            captures, sam.captures = sam.captures, None
            plain_masks, plain_quality = masks_of(sam, images, list(range(count)), **shifted)
            sam.captures = captures
            assert np.array_equal(masks, plain_masks) and np.allclose(quality, plain_quality, atol=1e-4)
    made = 2 + len(asked)  # the encoder for one image and for three, the decoder for each kind of prompt
    calls = 2 * 4 * len(asked)  # of both
    assert (recorded.made, recorded.replayed) == (made, calls - made)


def test_large_batches_are_not_recorded(sam, recorded, monkeypatch):
    monkeypatch.setattr(sam_module, "MAX_RECORDED_PIXELS", 2 * sam.image_size**2)
    boxes = np.tile(np.array([[20.0, 10, 70, 60]], np.float32), (MAX_RECORDED_PROMPTS + 1, 1))
    for _ in range(3):
        masks_of(sam, images_of(0, 3), [0, 1, 2, 0, 1], boxes)
    assert not recorded.made


def test_the_encoder_is_recorded_within_inference_mode_and_used_without_it(sam, recorded):
    pixels = SamInput(sam)(images_of(0))
    with torch.inference_mode():
        for _ in range(2):
            sam.forward_image(pixels)
    with torch.no_grad():
        found = sam.forward_image(pixels)["vision_features"]
        sam.captures = None
        assert torch.allclose(found, sam.forward_image(pixels)["vision_features"], atol=1e-5)
    assert recorded.replayed == 2, "checked, then used"


def test_recordings_of_sam_keep_what_they_read_where_it_lies():
    sam, reads = load_sam("demo", "cpu"), Reads()
    sam.captures = Captures(reads)
    for _ in range(2):
        masks_of(sam, images_of(0), [0], np.array([[20.0, 10, 70, 60]], np.float32))
    gc.collect()
    assert reads.read and not [addresses for addresses in reads.read.values() if addresses.expired()]


def segmenter_that_records(record):
    segmenter = load_segmenter()
    segmenter._models._loaded.captures = Captures(record)  # as on a GPU
    return segmenter


def phantom(index):
    return to_rgb(TASKS["mri_tumour"].phantom("validation", index))


def segment(segmenter, image):
    segmenter.set_image(image)
    return segmenter.segment(TASKS["mri_tumour"].prompt)


def test_the_whole_way_by_recordings_finds_what_the_plain_one_does():
    record = Traced()
    recorded, plain = segmenter_that_records(record), load_segmenter()
    for index in range(4):
        found, expected = segment(recorded, phantom(index)), segment(plain, phantom(index))
        assert found.found == expected.found and found.message == expected.message
        assert (found.mask != expected.mask).mean() < 1e-3
    before = record.replayed
    segment(recorded, phantom(4))
    assert record.replayed == before + 4, "the blocks, the search, SAM 2's encoder and decoder"


def test_settings_without_recordings_compute_plainly():
    record = Traced()
    segmenter = segmenter_that_records(record)
    segmenter = segmenter.with_settings(replace(segmenter.settings, capture=False))
    for index in range(2):
        segment(segmenter, phantom(index))
    assert not record.made


def test_when_memory_is_short_recordings_are_let_go_of():
    record = Traced()
    segmenter = segmenter_that_records(record)
    for index in range(2):
        segment(segmenter, phantom(index))
    made = record.made
    assert made and all(replay() for replay in record.replays)
    segmenter.reduce_memory()
    gc.collect()
    assert not any(replay() for replay in record.replays)
    for index in range(2):
        segment(segmenter, phantom(index))
    assert record.made == made


def test_a_recording_that_gives_something_else_is_not_used(caplog):
    wrong = lambda function, given: lambda *tensors: (function(*tensors)[0] * 1.01,)
    captures, double = Captures(wrong), lambda tensor: (tensor * 2,)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert captures.run("double", double, torch.full((2,), float(number)))[0].tolist() == [2.0 * number] * 2
    assert caplog.text.count("is not used") == 1


def test_a_recording_that_fails_is_told_once_and_the_computation_goes_on(caplog):
    def fails(function, given):
        raise RuntimeError("operation not permitted when stream is capturing")

    captures = Captures(fails)
    with caplog.at_level(logging.WARNING):
        for number in range(4):
            assert captures.run("double", lambda tensor: (tensor * 2,), torch.tensor([float(number)]))[0] == 2 * number
    assert caplog.text.count("stream is capturing") == 1


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


def test_nothing_between_image_and_masks_waits_for_a_value_or_mixes_devices(monkeypatch):
    """The way of a GPU, on torch's device without values: an operation on tensors of two devices fails there, and so
    does reading a value, but for the three times that something is copied to the host."""
    segmenter = load_segmenter()
    texts = {name: torch.zeros(segmenter.clip.encode_text(["lungs"]).shape[1], device="meta") for name in ("a", "b")}
    copies = []

    def copied(tensor):
        copies.append(tuple(tensor.shape))
        if tensor.ndim == 1:
            return torch.full(tensor.shape, 0.8)
        blob = torch.zeros(tensor.shape, dtype=tensor.dtype)
        height, width = tensor.shape[-2:]
        blob[..., height // 4 : 2 * height // 3, width // 3 : 2 * width // 3] = 1
        return blob

    meta = load_segmenter()
    meta.clip.model.to("meta")
    meta.sam.to("meta")
    for name in ("_mean", "_std"):
        setattr(meta.clip, name, getattr(meta.clip, name).to("meta"))
    meta.clip.device = torch.device("meta")
    meta = segmenting.TextSegmenter(meta.clip, meta.sam, segmenter.settings)
    monkeypatch.setattr(meta, "text_features", texts.__getitem__)
    monkeypatch.setattr(locating, "presence", lambda *_: [Presence(0.9, 0.05, 0.05, "no")] * 3)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "cpu", copied)
    assert meta.batch_size > 1
    meta.set_images(list(np.zeros((3, 90, 100, 3), np.uint8)))
    results = meta.segment_each(["a", "b"])
    assert [result["b"].found for result in results] == [True] * 3
    small = 2 * (meta.sam.image_size // 4,)
    assert copies == [(3, 2, 1, 16, 16), (6, *small), (6, 90, 100), (6,)], "maps; masks to tidy; masks and quality"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_cuda_graph_gives_the_map_of_the_plain_search(monkeypatch):
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
    assert replays, "the graph was used, not the plain search"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_graphs_of_all_networks_give_the_masks_of_the_plain_way(monkeypatch):
    replays, replay = set(), torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.add(id(graph)) or replay(graph))
    recorded = load_segmenter(device="cuda")
    plain = recorded.with_settings(replace(recorded.settings, capture=False))
    for index in range(6):
        found, expected = segment(recorded, phantom(index)), segment(plain, phantom(index))
        assert found.found == expected.found and (found.mask != expected.mask).mean() < 1e-3
    assert len(replays) >= 4, "the blocks, the search, SAM 2's encoder and decoder"
