"""The whole way of a GPU: SAM 2's networks and CLIP's are replayed, and nothing between them waits for a value."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from recorders import Reads, Traced

from MedCLIPSAMLib.experiments.phantom_benchmark import TASKS, to_rgb
from MedCLIPSAMLib.models import sam as sam_module
from MedCLIPSAMLib.models.acceleration.captures import Captures
from MedCLIPSAMLib.models.sam import MAX_RECORDED_PROMPTS, load_sam
from MedCLIPSAMLib.models.sam_image_batch import SamImageBatch
from MedCLIPSAMLib.segmentation import locate as locating
from MedCLIPSAMLib.segmentation import segmenter as segmenting
from MedCLIPSAMLib.segmentation.presence import Presence
from MedCLIPSAMLib.segmentation.segmenter import load_segmenter

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def sam():
    return load_sam("demo", "cpu")


@pytest.fixture
def recorded(sam):
    """Recordings of SAM 2, which computes plainly again afterwards."""
    record = Traced()
    captures = Captures(record)
    sam.captures = captures
    yield record
    sam.captures = None


def images_of(seed, count=1, size=96):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def masks_of(sam, images, numbers, boxes=None, points=None, logits=None):
    """Embed images, and predict masks and their IoU."""
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
        for seed in range(3):
            images = images_of(seed, count)
            shifted = {name: value + seed if name == "boxes" else value for name, value in prompts.items()}
            masks, quality = masks_of(sam, images, list(range(count)), **shifted)
            captures, sam.captures = sam.captures, None
            plain_masks, plain_quality = masks_of(sam, images, list(range(count)), **shifted)
            sam.captures = captures
            assert np.array_equal(masks, plain_masks) and np.allclose(quality, plain_quality, atol=1e-4)
    made = 2 + len(asked)  # the encoder for one image and for three, the decoder for each kind of prompt
    calls = 2 * 3 * len(asked)  # of both
    assert (recorded.made, recorded.replayed) == (made, calls - made)


def test_large_batches_are_not_recorded(sam, recorded, monkeypatch):
    monkeypatch.setattr(sam_module, "MAX_RECORDED_PIXELS", 2 * sam.image_size**2)
    boxes = np.tile(np.array([[20.0, 10, 70, 60]], np.float32), (MAX_RECORDED_PROMPTS + 1, 1))
    for _ in range(3):
        masks_of(sam, images_of(0, 3), [0, 1, 2, 0, 1], boxes)
    assert not recorded.made


def test_the_encoder_is_recorded_within_inference_mode_and_used_without_it(sam, recorded):
    pixels = sam.preprocess(images_of(0))
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
    captures = Captures(reads)
    sam.captures = captures
    for _ in range(2):
        masks_of(sam, images_of(0), [0], np.array([[20.0, 10, 70, 60]], np.float32))
    gc.collect()
    assert reads.read and not [addresses for addresses in reads.read.values() if addresses.expired()]


def segmenter_that_records(record):
    segmenter = load_segmenter()
    segmenter._models.loaded.captures = Captures(record)  # as on a GPU
    return segmenter


def phantom(index):
    return to_rgb(TASKS["mri_tumour"].phantom("validation", index))


def segment(segmenter, image):
    segmenter.set_image(image)
    return segmenter.segment(TASKS["mri_tumour"].prompt)


def test_the_whole_way_by_recordings_finds_what_the_plain_one_does():
    record = Traced()
    recorded, plain = segmenter_that_records(record), load_segmenter()
    for index in range(3):
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
    assert "without recorded" in segmenter.reduce_memory() and not segmenter.frugal
    assert not any(replay() for replay in record.replays)
    for index in range(2):
        segment(segmenter, phantom(index))
    assert record.made == made
    assert "smaller steps" in segmenter.reduce_memory()


def test_a_segmenter_that_is_dropped_takes_its_recordings_along():
    record = Traced()
    segmenter = segmenter_that_records(record)
    for index in range(2):
        segment(segmenter, phantom(index))
    assert record.made and all(replay() for replay in record.replays)
    gc.disable()  # memory of a GPU does not wait for the collector
    try:
        del segmenter
        assert not any(replay() for replay in record.replays)
    finally:
        gc.enable()


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
def test_cuda_graphs_of_all_networks_give_the_masks_of_the_plain_way(monkeypatch, caplog):
    replays, replay = Counter(), torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.update([id(graph)]) or replay(graph))
    recorded = load_segmenter(device="cuda")
    plain = recorded.with_settings(replace(recorded.settings, capture=False))
    for index in range(6):
        found, expected = segment(recorded, phantom(index)), segment(plain, phantom(index))
        assert found.found == expected.found and (found.mask != expected.mask).mean() < 1e-3
    assert len(replays) >= 4 and min(replays.values()) >= 2, "the blocks, the search, SAM 2's encoder and decoder: used"
    assert "CUDA graph" not in caplog.text
