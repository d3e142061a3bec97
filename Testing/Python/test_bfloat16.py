"""Products in bfloat16 on a CPU: attention by parts is torch's, rounded weights are kept, and all only where meant."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.command_line import run_python

from MedCLIPSAMLib.finetune.fabric import launch_fabric
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.models import device
from MedCLIPSAMLib.models.acceleration import bfloat16 as module
from MedCLIPSAMLib.models.acceleration.bfloat16 import ROWS, attention, in_bfloat16
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.models.sam import load_sam
from MedCLIPSAMLib.models.sam_image_batch import SamImageBatch
from MedCLIPSAMLib.propagation.slice_memory import SliceMemory
from MedCLIPSAMLib.segmentation.saliency import M2IBSettings, m2ib
from MedCLIPSAMLib.segmentation.segmenter import TextSegmenter
from MedCLIPSAMLib.segmentation.settings import default_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize("queries, keys", [(7, 7), (3, 9), (ROWS + 5, 40)])
def test_it_is_torchs_attention_and_derivative(queries, keys):
    generator = torch.Generator().manual_seed(0)
    make = lambda length: torch.randn(2, 3, length, 8, generator=generator, requires_grad=True)
    given = make(queries), make(keys), make(keys)
    ours, theirs = attention(*given), F.scaled_dot_product_attention(*given)
    assert torch.allclose(ours, theirs, atol=1e-6)
    weights = torch.randn(ours.shape, generator=generator)
    for first, other in zip(*(torch.autograd.grad((output * weights).sum(), given) for output in (ours, theirs))):
        assert torch.allclose(first, other, atol=1e-5)


@pytest.fixture()
def calls(monkeypatch):
    shapes = []
    monkeypatch.setattr(module, "attention", lambda *given: shapes.append(given[0].shape) or attention(*given))
    return shapes


def test_only_plain_attention_in_bfloat16_on_a_cpu_is_replaced(calls):
    low, full = (torch.randn(1, 2, 6, 8).to(dtype) for dtype in (torch.bfloat16, torch.float32))
    with in_bfloat16(CPU, False):
        F.scaled_dot_product_attention(low, low, low)
    with warnings.catch_warnings(action="ignore"), in_bfloat16(torch.device("cuda"), True):  # torch finds no GPU
        F.scaled_dot_product_attention(low, low, low)
    with in_bfloat16(CPU, True):
        with torch.autocast("cpu", enabled=False):
            F.scaled_dot_product_attention(full, full, full)
        F.scaled_dot_product_attention(low, low, low, is_causal=True)
        F.scaled_dot_product_attention(low, low, low, attn_mask=torch.ones(6, 6, dtype=torch.bool))
    assert not calls
    with in_bfloat16(CPU, True):
        F.scaled_dot_product_attention(low, low, low, attn_mask=None, dropout_p=0.0)
    assert len(calls) == 1


def test_the_search_and_the_encoder_use_it_in_bfloat16_alone(calls):
    clip, sam = load_clip("demo"), load_sam("demo")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    images = SamImageBatch(sam)
    for bfloat16 in (False, True):
        sam.bfloat16 = bfloat16
        settings = M2IBSettings(1, steps=3, samples=2)
        m2ib(clip, clip.preprocess(image), clip.encode_text(["lungs"]), settings, bfloat16=bfloat16)
        searched = len(calls)
        images.set(image)
        images.embed([0])
        assert (searched > 0) == bfloat16 and (len(calls) > searched) == bfloat16


def test_memory_attention_multiplies_in_bfloat16_with_the_encoder(calls):
    sam, mask = load_sam("demo"), np.zeros((96, 96), bool)
    mask[30:60, 30:60] = True
    for bfloat16 in (False, True):
        sam.bfloat16 = bfloat16
        memory = SliceMemory(sam, 2, lambda _: np.zeros((96, 96, 3), np.uint8), mask.shape)
        memory.give("object", 0, mask)  # embeds a slice, as the next one does it
        encoder = len(calls)
        list(memory.follow(0, 1))
        assert (len(calls) > 2 * encoder) == bfloat16


def test_an_image_is_embedded_anew_for_another_precision():
    sam = load_sam("demo")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    images, exact = SamImageBatch(sam), SamImageBatch(sam)
    images.set(image)
    exact.set(image)
    sam.bfloat16 = True
    rounded = images.features(0)[0]
    sam.bfloat16 = False
    assert not images.are_embedded([0])
    assert torch.equal(images.features(0)[0], exact.features(0)[0])
    assert not torch.equal(rounded, exact.features(0)[0])


def test_weights_are_rounded_once_where_they_are_used_again(monkeypatch):
    layer, given = torch.nn.Linear(6, 9).requires_grad_(False), torch.randn(4, 6)
    rounded, plain = [], torch.Tensor.bfloat16
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: rounded.append(1) or plain(tensor))
    with in_bfloat16(CPU, True):
        expected = layer(given)
    with in_bfloat16(CPU, True, again=True):
        found = [layer(given) for _ in range(3)]
        layer.weight.requires_grad_(True)
        trained = layer(given)
    assert len(rounded) == 1 and trained.requires_grad
    assert all(torch.equal(output, expected) and output.dtype == torch.bfloat16 for output in (*found, trained))
    with torch.no_grad():
        layer.weight.mul_(2)
    with in_bfloat16(CPU, True, again=True):
        assert not torch.equal(layer(given), expected), "the next time anew"


@pytest.mark.skipif(not device.fast_bfloat16(CPU), reason="this CPU computes no bfloat16")
def test_a_library_that_is_held_to_older_instructions_computes_no_bfloat16():
    asked = (
        "import torch; from MedCLIPSAMLib.models.device import fast_bfloat16 as fast; print(fast(torch.device('cpu')))"
    )
    ran = run_python(asked, ONEDNN_MAX_CPU_ISA="AVX2")
    assert ran.stdout.strip() == "False", ran.stderr


@pytest.mark.parametrize("fast, warnings_told", [(False, 1), (True, 0)])
def test_where_it_is_slow_it_is_told_once_and_by_how_much(fast, warnings_told, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(device, "fast_bfloat16", lambda device: fast)
    device.warn_of_slow_bfloat16.cache_clear()
    settings = default_settings("demo")
    with caplog.at_level(logging.WARNING):
        segmenter = TextSegmenter(load_clip("demo"), load_sam("demo"), settings)
        segmenter.with_settings(replace(settings, precision="f32"))
        launch_fabric(FineTuneSettings(base="demo", precision="32-true"), "cpu", tmp_path)
        assert not caplog.records
        for _ in range(2):
            segmenter.with_settings(replace(settings, precision="bf16"))
        launch_fabric(FineTuneSettings(base="demo", precision="bf16-mixed"), "cpu", tmp_path)
    assert caplog.text.count("19 times as long") == warnings_told == len(caplog.records)


def test_training_in_bfloat16_on_a_cpu_without_it_is_told_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(device, "fast_bfloat16", lambda device: False)
    device.warn_of_slow_bfloat16.cache_clear()
    with caplog.at_level(logging.WARNING):
        launch_fabric(FineTuneSettings(base="demo", precision="bf16-mixed"), "cpu", tmp_path)
    assert "19 times as long" in caplog.text
