"""The training of the shipped demo model on image-caption pairs, in one process and in two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetuning import QUICK, captions, pairs, train
from safetensors.torch import load_file

from MedCLIPSAMLib.errors import InputError
from MedCLIPSAMLib.finetune.batches import PairSource, read_slice
from MedCLIPSAMLib.finetune.settings import FineTuneSettings
from MedCLIPSAMLib.finetune.train import BEST, CHECKPOINT, LOG, fine_tune
from MedCLIPSAMLib.finetune.trainable import merge_lora, prepare, select_trained
from MedCLIPSAMLib.models.clip import load_clip
from MedCLIPSAMLib.run_context import Progress, RunContext

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = (captions, pairs)


def test_the_loss_falls_and_the_best_weights_are_kept(pairs, tmp_path):
    seen = []
    result = train(
        pairs, tmp_path, replace(QUICK, epochs=6, learning_rate=2e-4, temperature=0.1), context=RunContext(seen.append)
    )
    losses = [progress.details["loss"] for progress in seen]
    assert len(losses) == 30 and np.mean(losses[-5:]) < np.mean(losses[:5])
    validations = [progress.details["validation"] for progress in seen if progress.details["validation"]]
    assert len(validations) == 6 and validations[-1]["best"] >= max(figures["top1"] for figures in validations)
    assert result.step % 5 == 0 and load_file(result.weights).keys() == load_clip("demo").model.state_dict().keys()
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == list(range(1, 31))
    assert list((tmp_path / "tensorboard").glob("events.*"))
    rates = [progress.details["learning_rate"] for progress in seen]
    assert rates[0] < rates[2] == pytest.approx(2e-4) and rates[-1] < 1e-5  # warmed up, then to 0


def test_where_gradients_are_clipped_to_nothing_matrices_decay_and_the_rest_stays(pairs, tmp_path):
    """By hand: each step of AdamW takes the share rate * decay of a matrix, beside what the clipped gradient moves."""
    seen = []
    settings = replace(QUICK, epochs=1, learning_rate=1e-2, weight_decay=0.7, clip_norm=1e-30)
    train(pairs, tmp_path, settings, context=RunContext(seen.append))
    left = np.prod([1 - progress.details["learning_rate"] * 0.7 for progress in seen])
    assert len(seen) == 5 and left < 0.99
    base = select_trained(prepare(load_clip("demo").model))
    trained = torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"]
    assert trained.keys() == base.keys() and {tensor.ndim > 1 for tensor in base.values()} == {True, False}
    for name, before in base.items():
        expected = before * left if before.ndim > 1 else before
        assert torch.allclose(trained[name], expected, rtol=1e-4, atol=1e-7), name


def test_training_ends_when_nothing_is_gained(pairs, tmp_path):
    result = train(pairs, tmp_path, replace(QUICK, epochs=9, patience=2, learning_rate=1e-12))
    assert result.steps == result.step + 10 < 45


def test_weights_that_are_no_numbers_are_never_the_result(pairs, tmp_path):
    """Cosines that are NaN have an order, so that retrieval finds some pairs: here more than the base."""
    settings = replace(QUICK, batch=12, learning_rate=1e30, epochs=1, warm_up=0.0)
    with pytest.raises(InputError, match="loss of the validation pairs is nan"):
        train(pairs, tmp_path, settings)
    assert all(weight.isfinite().all() for weight in load_file(tmp_path / BEST).values())


def test_an_epoch_of_fewer_batches_than_were_counted_ends_the_run(pairs, tmp_path):
    class Shrunk(PairSource):
        def order(self, epoch):
            return super().order(epoch)[:3]

    training = lambda size, rank, world: Shrunk(pairs[:20], size, 4)
    with pytest.raises(InputError, match="Expected 5 batches in an epoch, got 3"):
        fine_tune(training, lambda size: PairSource(pairs[20:], size, 4), QUICK, tmp_path, "cpu")


def test_where_an_image_is_gone_no_finished_step_is_lost(pairs, tmp_path):
    last = PairSource(pairs[:20], 16, 4).order(1)[-1][0]  # of the second epoch's last batch
    read = lambda path: read_slice(path if path != pairs[last].image or len(seen) < 5 else path.with_name("gone"))
    training = lambda size, rank, world: PairSource(pairs[:20], size, 4, read=read)
    validation = lambda size: PairSource(pairs[20:], size, 4)
    seen: list[Progress] = []
    with pytest.raises(InputError, match="gone"):
        fine_tune(training, validation, QUICK, tmp_path, "cpu", context=RunContext(seen.append))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == len(seen) == 9


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}, {"freeze": "all-but-heads", "crop": None}])
def test_a_program_may_have_set_another_type_of_numbers(pairs, tmp_path, options):
    torch.set_default_dtype(torch.float64)
    try:
        result = train(pairs, tmp_path, replace(QUICK, epochs=1, **options))
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.steps == 5


@pytest.mark.parametrize(
    "options", [{"lora_rank": 4, "learning_rate": 1e-3}, {"freeze": "text"}, {"freeze": "lower-half"}]
)
def test_only_what_is_to_be_trained_changes(pairs, tmp_path, options):
    settings = replace(QUICK, epochs=1, **options)
    base = load_clip("demo").model
    model = prepare(load_clip("demo").model, settings.freeze, settings.lora_rank)
    few = select_trained(model)
    assert sum(parameter.numel() for parameter in few.values()) < 0.75 * sum(
        parameter.numel() for parameter in base.parameters()
    )
    train(pairs, tmp_path, settings)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"].keys() == few.keys()
    again = prepare(load_clip("demo").model, settings.freeze, settings.lora_rank)
    again.load_state_dict(torch.load(tmp_path / CHECKPOINT, weights_only=True)["model"], strict=False)
    weights, before = merge_lora(again), {name: weight.float() for name, weight in base.state_dict().items()}
    assert weights.keys() == before.keys()
    changed = {name for name in before if not torch.equal(weights[name], before[name])}
    assert changed
    if settings.freeze == "text":
        assert all(name.startswith("visual.") for name in changed)
    if settings.freeze == "lower-half":
        assert (
            "visual.trunk.blocks.0.attn.qkv.weight" not in changed
            and "visual.trunk.blocks.3.attn.qkv.weight" in changed
        )
    if settings.lora_rank:
        assert all(name.endswith("weight") for name in changed)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch": 1}, "'batch'.*got 1.*no negatives"),
        ({"loss": "magic"}, "'loss'.*dhn-nce.*magic"),
        ({"temperature": 0.0}, "temperature"),
        ({"crop": 0.0}, "crop"),
        ({"precision": "8"}, "bf16-mixed"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FineTuneSettings(**options)


def test_two_processes_train_together(captions, tmp_path, run):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    ask = ["finetune", str(captions), "--models-dir", str(tmp_path), "--base", "demo", "--device", "cpu"]
    ask += "--batch 4 --epochs 1 --workers 0 --validation-share 0.3 --lr 1e-5".split()
    command += ["-m", "MedCLIPSAMLib", *ask, "--name", "two", "-o", str(tmp_path / "run")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Use it with --model two") == done.stdout.count("Peak memory: ") == 1
    assert run(*ask, "--name", "one", "-o", tmp_path / "alone")[0] == 0
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / out / LOG).read_text().splitlines()]
        for out in ("run", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert (tmp_path / "run" / BEST).is_file()
