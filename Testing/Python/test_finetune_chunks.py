"""As many pairs at once as memory takes, the same result for any number, and less when memory runs out all the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace

import psutil
import pytest
import torch
from finetuning import captions, pairs, stop_after
from torch import nn

from MedCLIPSAMLib.errors import Cancelled, DeviceError
from MedCLIPSAMLib.finetune import train as training
from MedCLIPSAMLib.finetune.batches import PairSource
from MedCLIPSAMLib.finetune.chunks import Chunks
from MedCLIPSAMLib.finetune.memory import CudaMemory, SharedMemory
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import CHECKPOINT, LOG, fine_tune
from MedCLIPSAMLib.run_context import RunContext

MIB = 2**20
FIXTURES = (captions, pairs)


@dataclass
class Gpu:
    """A GPU as torch's allocator tells of it: memory once taken is kept for reuse, and the peak until it is reset."""

    total: int
    pair: int
    casts: int = 300 * MIB
    gradients: int = 800 * MIB
    allocated: int = 800 * MIB
    reserved: int = 800 * MIB
    peak: int = 800 * MIB
    driven: bool = False

    def take(self, size: int) -> None:
        self.allocated += size
        if self.allocated > self.total:
            self.allocated -= size
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate some.")
        self.peak, self.reserved = max(self.peak, self.allocated), max(self.reserved, self.allocated)

    def step(self, pairs: int) -> int:
        """Take pairs through the model and back: activations are given back, gradients stay from the first time on."""
        before = self.allocated
        try:
            self.take(self.casts + pairs * self.pair)
        finally:
            self.allocated = before
        if not self.driven:
            self.take(self.gradients)
            self.driven = True
        return pairs

    def empty_cache(self) -> None:
        self.reserved = self.allocated

    def reset(self, device: object) -> None:
        self.peak = self.allocated


@pytest.fixture()
def gpu(monkeypatch):
    def make(**values: int) -> Gpu:
        made = Gpu(**values)
        for name, function in {
            "memory_allocated": lambda device: made.allocated,
            "memory_reserved": lambda device: made.reserved,
            "max_memory_allocated": lambda device: made.peak,
            "reset_peak_memory_stats": made.reset,
            "mem_get_info": lambda device: (made.total - made.reserved, made.total),
            "empty_cache": made.empty_cache,
        }.items():
            monkeypatch.setattr(torch.cuda, name, function)
        return made

    return make


def chosen(device: Gpu, batch: int, size: int = 0, later: int = 1600 * MIB) -> tuple[int, list[str]]:
    notices: list[str] = []
    chunks = Chunks(size, CudaMemory(torch.device("cuda")), RunContext(on_notice=notices.append))
    chunks.choose(batch, device.step, lambda: later)
    device.take(later)
    return int(chunks.run(batch, device.step)), notices


@pytest.mark.parametrize("gib, batch", [(8, 64), (8, 1024), (16, 64), (24, 1024), (80, 4096)])
def test_the_largest_chunk_that_fits_is_taken_and_said(gpu, gib, batch):
    device = gpu(total=gib << 30, pair=73 * MIB)
    size, notices = chosen(device, batch)
    most = min(batch, (device.total - device.casts - device.gradients - (2400 << 20)) // device.pair)
    assert size <= most and -(-batch // size) <= -(-batch // (0.75 * most)), "as few chunks as memory takes, or nearly"
    assert batch - size * (-(-batch // size) - 1) > size / 2 or size < 2, "no chunk is left nearly empty"
    said = f"Processing {size} of the {batch} pairs"
    assert len(notices) == 1 and notices[0].startswith(said) and "73 MiB" in notices[0]


def test_a_batch_that_fits_is_taken_whole(gpu):
    assert chosen(gpu(total=80 << 30, pair=73 * MIB), 64)[0] == 64
    device = gpu(total=80 << 30, pair=73 * MIB)
    assert chosen(device, 8)[0] == 8 and not chosen(device, 8)[1]


def test_a_size_set_by_hand_holds_and_is_not_halved(gpu):
    device = gpu(total=8 << 30, pair=73 * MIB)
    assert chosen(device, 64, 16)[0] == 16
    with pytest.raises(DeviceError, match="64 pairs at once.*smaller chunk"):
        chosen(gpu(total=6 << 30, pair=73 * MIB), 64, 64)


def test_where_memory_runs_out_all_the_same_chunks_are_halved(gpu):
    """Captions were longer than those tried, or another program came."""
    device = gpu(total=16 << 30, pair=73 * MIB)
    notices: list[str] = []
    chunks = Chunks(0, CudaMemory(torch.device("cuda")), RunContext(on_notice=notices.append))
    chunks.choose(64, device.step, lambda: 0)
    device.pair *= 5
    assert chunks.run(64, device.step) == 32
    assert notices[-1] == "Memory ran out with 64 pairs at once: continuing with 32."
    assert chunks.run(64, device.step) == 32 and len(notices) == 2
    device.pair = device.total
    with pytest.raises(DeviceError, match="1 pairs at once"):
        chunks.run(64, device.step)


def test_of_several_processes_none_repeats_a_step(gpu):
    device = gpu(total=4 << 30, pair=73 * MIB)
    chunks = Chunks(0, CudaMemory(torch.device("cuda")), RunContext(), alone=False)
    chunks.go_on(64)
    with pytest.raises(DeviceError, match="64 pairs at once"):
        chunks.run(64, device.step)


def test_a_gpu_too_small_for_the_trial_goes_on_with_few(gpu):
    assert chosen(gpu(total=3 << 30, pair=250 * MIB), 64, later=0)[0] == 2


def test_another_failure_is_no_lack_of_memory(gpu):
    device = gpu(total=8 << 30, pair=MIB)

    def fail(pairs: int) -> int:
        raise RuntimeError("shapes differ")

    chunks = Chunks(0, CudaMemory(torch.device("cuda")), RunContext())
    for call in (lambda: chunks.choose(64, fail, lambda: 0), lambda: chunks.run(64, fail)):
        with pytest.raises(RuntimeError, match="shapes differ"):
            call()
    assert device.allocated == device.peak


def test_on_a_cpu_what_is_kept_for_the_backward_pass_counts():
    layers = nn.Sequential(nn.Linear(10, 20), nn.Sigmoid(), nn.Linear(20, 5, bias=False), nn.Sigmoid())
    reader = SharedMemory(torch.device("cpu"))
    cost = {
        pairs: reader.measure(lambda pairs=pairs: layers(torch.ones(pairs, 10)).sum().backward()) for pairs in (2, 7)
    }
    assert cost[7] - cost[2] == 5 * 4 * (10 + 20 + 5), "input and both activations, which the layers share"


def train(pairs, out, chunk=0, epochs=1, **options):
    """Train on 12 pairs, a step an epoch."""
    settings = FineTuneSettings(base="demo", batch=12, epochs=epochs, learning_rate=3e-5, chunk=chunk)
    source = lambda part, crop: lambda size, rank=0, world=1: PairSource(part, size, min(12, len(part)), crop)
    return fine_tune(source(pairs[:12], 0.9), source(pairs[12:14], 1.0), settings, out, "cpu", **options)


def losses(out):
    return [json.loads(line)["loss"] for line in (out / LOG).read_text(encoding="utf-8").splitlines()]


def assert_trained_alike(out, other, why):
    first, second = (torch.load(folder / CHECKPOINT, weights_only=True)["model"] for folder in (out, other))
    assert losses(out) == losses(other) and all(torch.equal(first[name], second[name]) for name in first), why


def few_fit(monkeypatch, pairs_that_fit=4):
    """Make a computer with little memory: what is free is what the weights that are kept and a few pairs take."""
    taken, later = [], []
    measure, choose = SharedMemory.measure, Chunks.choose
    monkeypatch.setattr(SharedMemory, "measure", lambda *given: taken.append(measure(*given)) or taken[-1])
    monkeypatch.setattr(Chunks, "choose", lambda *given: later.append(given[-1]()) or choose(*given))

    def memory():
        pair = (taken[1] - taken[0]) / 6
        return SimpleNamespace(available=(taken[0] + (pairs_that_fit - 1.5) * pair + later[0]) / SharedMemory.SHARE)

    monkeypatch.setattr(psutil, "virtual_memory", memory)


def test_a_run_is_the_same_with_what_fits_and_what_does_not(pairs, tmp_path, monkeypatch):
    said: list[str] = []
    context = RunContext(on_notice=said.append)
    whole = train(pairs, tmp_path / "whole", context=context)
    train(pairs, tmp_path / "by-hand", 12)
    assert len(said) == 1 and said[0].startswith("Processing 12 of the 12 pairs of a batch at once")
    assert_trained_alike(tmp_path / "whole", tmp_path / "by-hand", "the trial leaves nothing behind")
    assert 50 * MIB < whole.peak_memory < 64 << 30
    few_fit(monkeypatch)
    train(pairs, tmp_path / "few", context=context)
    assert said[-1].startswith("Processing 4 of the 12 pairs of a batch at once")
    assert losses(tmp_path / "few") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def test_a_run_that_was_stopped_goes_on_with_its_chunk_or_with_another(pairs, tmp_path, monkeypatch):
    """Its own unless one is set: other numbers of dropout and other rounding come with another."""
    sizes, backward = [], training.contrastive_backward
    note = lambda encode, chunks, *given: sizes.append(len(chunks[0][0])) or backward(encode, chunks, *given)
    monkeypatch.setattr(training, "contrastive_backward", note)
    for chunk in (3, 0, 4):
        with pytest.raises(Cancelled):
            train(pairs, tmp_path, chunk, 4, context=stop_after(1))
    assert sizes == [3, 3, 4] and len(losses(tmp_path)) == 3


def test_a_full_memory_in_training_repeats_the_step_with_half(pairs, tmp_path, monkeypatch):
    """The first attempt fails on the way: what it left in gradients and random numbers does not count."""
    train(pairs, tmp_path / "plain", 6)
    backward, said, sizes = training.contrastive_backward, [], []

    def fill(encode, chunks, *given):
        sizes.append(len(chunks[0][0]))
        loss = backward(encode, chunks, *given)
        if len(chunks[0][0]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return loss

    monkeypatch.setattr(training, "contrastive_backward", fill)
    train(pairs, tmp_path / "full", context=RunContext(on_notice=said.append))
    assert sizes == [12, 6] and said[-1] == "Memory ran out with 12 pairs at once: continuing with 6."
    assert_trained_alike(tmp_path / "full", tmp_path / "plain", "nor does the failed attempt")


def test_a_full_memory_of_a_gpu_of_apple_in_the_step_of_adamw_is_told(pairs, tmp_path, monkeypatch):
    """There torch raises no OutOfMemoryError."""

    def fill(*_arguments, **_named):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GiB, max allowed: 9.07 GiB).")

    monkeypatch.setattr(torch.optim.AdamW, "step", fill)
    with pytest.raises(DeviceError, match="memory"):
        train(pairs, tmp_path / "full", 6)
