"""A training that was killed, cancelled or ran out of disk resumes from its checkpoint, and refuses the wrong ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from finetuning import QUICK, captions, pairs, stop_after, train
from helpers.exhausted import full_disk
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file, save_file

from MedCLIPSAMLib.errors import Cancelled, ModelError, OutputError
from MedCLIPSAMLib.finetune.checkpoint import read_checkpoint, write_checkpoint
from MedCLIPSAMLib.finetune.publish import export_model
from MedCLIPSAMLib.finetune.train import BEST, CHECKPOINT, LOG
from MedCLIPSAMLib.run_context import RunContext

DATA = {"training pairs": "a" * 64}
ROOT = Path(__file__).resolve().parents[2]
FIXTURES = (captions, pairs)


def test_a_killed_run_goes_on_to_the_same_weights(captions, tmp_path, run):
    """Killed without warning in the second epoch, and started again; crops, order and Adam go on as if nothing was."""
    options = "--base demo --batch 4 --epochs 3 --patience 0 --lr 1e-4 --device cpu --workers 0 --validation-share 0.3"
    ask = ("finetune", captions, "--models-dir", tmp_path, *options.split(), "--name")
    command = [sys.executable, "-m", "MedCLIPSAMLib", *map(str, ask), "killed-model", "-o", str(tmp_path / "killed")]
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **output)
    log = tmp_path / "killed" / LOG
    while running.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 8):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert (tmp_path / "killed" / CHECKPOINT).is_file() and not (tmp_path / "killed" / "medclipsam.json").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as before: sums are rounded by it
    for out in ("killed", "whole"):
        code, _, err = run(*ask, f"{out}-model", "-o", tmp_path / out)
        assert code == 0, err
    torch.set_num_threads(threads)
    first, other = (torch.load(tmp_path / out / CHECKPOINT, weights_only=True)["model"] for out in ("killed", "whole"))
    assert all(torch.equal(first[name], other[name]) for name in other)
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[0] == 1


@pytest.mark.parametrize("end, code", [("SIGTERM", 143), ("an image is gone", 2)])
def test_what_ends_a_run_ends_its_workers(captions, tmp_path, end, code):
    """Queues and `timeout` send SIGTERM to the processes that read images too."""
    images = shutil.copytree(captions.parent, tmp_path / "images")
    command = [sys.executable, "-m", "MedCLIPSAMLib", "finetune", str(images / captions.name), "--name", "ended"]
    command += ["-o", str(tmp_path / "run"), "--models-dir", str(tmp_path)]
    command += "--base demo --batch 4 --epochs 500 --patience 0 --device cpu --workers 2 --validation-share 0.3".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (tmp_path / "err").open("w") as errors:
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=errors, stderr=errors, start_new_session=True
        )
        log = tmp_path / "run" / LOG
        while running.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < 7):
            time.sleep(0.02)
        if end == "an image is gone":
            for path in images.glob("*.png"):
                path.unlink()
        else:
            os.killpg(running.pid, signal.Signals[end])
        assert running.wait(60) == code
    said = (tmp_path / "err").read_text()
    assert ("There is no file" if code == 2 else "the same command resumes from what is stored") in said


def test_a_run_killed_before_its_first_checkpoint_logs_each_step_once(pairs, tmp_path):
    (tmp_path / LOG).write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    train(pairs, tmp_path, replace(QUICK, epochs=1))
    assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_a_cancelled_run_keeps_a_checkpoint_and_goes_on(pairs, tmp_path):
    with pytest.raises(Cancelled):
        train(pairs, tmp_path, context=stop_after(3))
    seen = []
    train(pairs, tmp_path, context=RunContext(seen.append))
    assert [progress.done for progress in seen] == list(range(4, 11))


@pytest.mark.parametrize("within", ["an epoch", "the update of the weights"])
def test_a_run_ended_by_ctrl_c_within_an_epoch_loses_no_finished_step(pairs, tmp_path, monkeypatch, within):
    """Weights that are half updated are not stored: these steps are done again."""
    interrupt = lambda progress: signal.raise_signal(signal.SIGINT) if progress.done == 3 else None
    stop = RunContext(interrupt if within == "an epoch" else lambda progress: None)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if within != "an epoch":
            patched.setattr(torch.optim.AdamW, "step", update_and_interrupt(torch.optim.AdamW.step))
        train(pairs, tmp_path / "stopped", context=stop)
    seen = []
    train(pairs, tmp_path / "stopped", context=RunContext(seen.append))
    assert seen[0].done == (4 if within == "an epoch" else 1)
    train(pairs, tmp_path / "whole")
    first, other = (load_file(tmp_path / out / BEST) for out in ("stopped", "whole"))
    assert all(torch.equal(first[name], other[name]) for name in other)


@pytest.mark.parametrize("how", ["Ctrl+C", "cancel"])
def test_a_run_ended_in_the_validation_of_an_epoch_compares_its_weights_later(pairs, tmp_path, how):
    """The weights of the training are stored, not their average with the base, which is compared."""
    settings, seen, asked = replace(QUICK, blend=0.5), [], []

    def is_cancelled() -> bool:
        asked.append(len(seen))
        if asked.count(4) < 3:  # before the last step of the epoch, then before each batch of the validation
            return False
        if how == "Ctrl+C":
            signal.raise_signal(signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt if how == "Ctrl+C" else Cancelled):
        train(pairs, tmp_path / "stopped", settings, context=RunContext(seen.append, is_cancelled=is_cancelled))
    resumed = []
    train(pairs, tmp_path / "stopped", settings, context=RunContext(resumed.append))
    assert [progress.done for progress in resumed] == [5, 6, 7, 8, 9, 10]
    train(pairs, tmp_path / "whole", settings)
    first, other = (load_file(tmp_path / out / BEST) for out in ("stopped", "whole"))
    assert all(torch.equal(first[name], other[name]) for name in other)
    losses = [
        [(line["step"], line["loss"], line["validation"]) for line in map(json.loads, (tmp_path / out / LOG).open())]
        for out in ("stopped", "whole")
    ]
    assert losses[0] == losses[1]


def update_and_interrupt(update):
    def step(optimizer, *arguments, **options):
        update(optimizer, *arguments, **options)
        signal.raise_signal(signal.SIGINT)

    return step


def test_a_run_of_a_cpu_goes_on_where_the_loss_is_scaled(pairs, tmp_path, monkeypatch):
    """A GPU without bfloat16 scales the loss, here on the CPU; a run in 32 bits has no state of that."""
    settings = replace(QUICK, epochs=1)
    with pytest.raises(Cancelled):
        train(pairs, tmp_path, settings, context=stop_after(2))
    scaled = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))
    scaled.launch()
    monkeypatch.setattr("MedCLIPSAMLib.finetune.train.launch_fabric", lambda *_: scaled)
    seen = []
    train(pairs, tmp_path, settings, context=RunContext(seen.append))
    assert [progress.done for progress in seen] == [3, 4, 5]


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path):
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, {"step": 1})
    with full_disk(100_000):
        with pytest.raises(OutputError, match="cannot be written: the disk took only part of it"):
            write_checkpoint(path, {"step": 2, "model": torch.zeros(1_000_000)})
        with pytest.raises(OutputError, match="cannot be written"):
            export_model("demo", "open-clip", tmp_path / "exported")
    assert torch.load(path, weights_only=True) == {"step": 1} and [path.name for path in tmp_path.iterdir()] == [
        CHECKPOINT
    ]


def test_checkpoints_that_do_not_belong_are_refused_and_left_alone(pairs, tmp_path):
    with pytest.raises(Cancelled):
        train(pairs, tmp_path, data=DATA, context=stop_after(1))
    original = (tmp_path / CHECKPOINT).read_bytes()
    for changes, message in (
        ({"temperature": 0.3}, "another training: temperature was 0.6 and is 0.3$"),
        ({"temperature": 0.6, "lora_rank": 2, "seed": 3}, "another training: lora_rank was 0 and is 2, seed was 12"),
        ({"loss": "info-nce"}, "loss was dhn-nce and is info-nce"),
    ):
        with pytest.raises(ModelError) as refused:
            train(pairs, tmp_path, replace(QUICK, **changes), data=DATA)
        assert re.search(message, refused.value.problem.rstrip("."))
    with pytest.raises(ModelError, match="the training pairs differ"):
        train(pairs, tmp_path, data=DATA | {"training pairs": "b" * 64})
    with pytest.raises(ModelError, match="the training shards differ, the training pairs differ"):
        train(pairs, tmp_path, data={"training shards": "a" * 64})
    assert (tmp_path / CHECKPOINT).read_bytes() == original
    stop = RunContext(is_cancelled=lambda: True)
    with pytest.raises(Cancelled):  # resumed, with a default that is given
        train(pairs, tmp_path, replace(QUICK, temperature=0.6), data=DATA, context=stop)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 1
    best = (tmp_path / BEST).rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=f"There is no '.*{BEST}'"):
        train(pairs, tmp_path, data=DATA)
    best.rename(tmp_path / BEST)
    (tmp_path / CHECKPOINT).write_bytes(original[: len(original) // 2])
    with pytest.raises(ModelError, match="damaged"):
        train(pairs, tmp_path, data=DATA)


def test_a_base_of_the_same_name_with_other_weights_is_another_base(pairs, tmp_path):
    for heads_alone in (False, True):
        models, out = tmp_path / f"models-{heads_alone}", tmp_path / f"run-{heads_alone}"
        export_model("demo", "open-clip", models / "demo-clip")
        settings = replace(QUICK, freeze="all-but-heads", crop=1.0) if heads_alone else QUICK
        with pytest.raises(Cancelled):
            train(pairs, out, settings, models_dir=models, context=stop_after(1))
        weights = models / "demo-clip" / "open_clip_model.safetensors"
        save_file({name: 0.9 * tensor for name, tensor in load_file(weights).items()}, weights)
        store = "features" if heads_alone else "last"
        with pytest.raises(ModelError, match=f"{store}.ckpt.*the files of the base differ"):
            train(pairs, out, settings, models_dir=models)


@pytest.mark.parametrize("content", [[1], torch.zeros(2), {"model": 3, "fingerprint": ""}, {"model": {"a": 1}}])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match="last.ckpt' is damaged"):
        read_checkpoint(tmp_path / "last.ckpt", {}, {})
