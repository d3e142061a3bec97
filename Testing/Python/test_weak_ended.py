"""Trainings of stock nnU-Net that are killed or ended; they take as long as all other tests of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import psutil
import pytest
from helpers.weak import write_dataset

from MedCLIPSAMLib.nnunet.train import FOLD, PROGRESS


def test_a_killed_training_holds_its_folder_while_it_lives_and_goes_on_afterwards(tmp_path):
    pytest.importorskip("nnunetv2")
    dataset, out = write_dataset(tmp_path / "Dataset013_Lungs"), tmp_path / "run"
    options = "--short --cycles 1 --epochs 4 --keep 2 --iterations 2 --device cpu".split()
    command = [sys.executable, "-m", "MedCLIPSAMLib", "weak", "train", str(dataset), "-o", str(out), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        until = time.monotonic() + 300
        while not any(path.read_text().count("\n") >= 2 for path in out.glob(f"results/*/*/{FOLD}/{PROGRESS}")):
            assert parent.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        left = psutil.Process(parent.pid).children(recursive=True)
        for process in left:
            process.suspend()  # so that it lives on while the next run is refused
        parent.kill()
    refused = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert refused.returncode == 2 and "Another run is writing" in refused.stderr
    for process in left:
        process.kill()
    psutil.wait_procs(left, 20)
    again = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert again.returncode == 0, again.stderr
    (fold,) = out.glob(f"results/*/*/{FOLD}")
    assert len(list(fold.glob("cycle1_epoch000[34].safetensors"))) == 2
    epochs = [json.loads(line)["epoch"] for line in (fold / PROGRESS).read_text().splitlines()]
    assert epochs[0] > 1 and epochs[-1] == 4, "training resumed, it did not restart"


def test_a_training_that_is_ended_takes_nnunet_with_it_and_says_how_far_it_is(tmp_path):
    """By SIGTERM, as batch systems and service managers send it."""
    pytest.importorskip("nnunetv2")
    dataset, out = write_dataset(tmp_path / "Dataset014_Lungs"), tmp_path / "run"
    options = "--short --cycles 1 --epochs 90 --keep 2 --iterations 1 --device cpu".split()
    command = [sys.executable, "-m", "MedCLIPSAMLib", "weak", "train", str(dataset), "-o", str(out), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8") as running:
        assert any(re.search(r"epoch \d+ of 90: loss .* left", line) for line in running.stderr)
        started = psutil.Process(running.pid).children(recursive=True)
        running.terminate()
        _, output = running.communicate(timeout=60)
    assert (
        running.returncode == 143 and "goes on from nnU-Net's last checkpoint" in output and "Traceback" not in output
    )
    _, alive = psutil.wait_procs(started, 5)
    assert started and not alive
