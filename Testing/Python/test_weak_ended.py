"""A training of stock nnU-Net that is ended, then killed, and goes on each time."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import psutil
import pytest
from helpers.weak import write_dataset

from MedCLIPSAMLib.nnunet.train import FOLD, PROGRESS


def test_a_training_that_is_ended_or_killed_goes_on_and_holds_its_folder_while_it_lives(tmp_path):
    """Ended by SIGTERM, as batch systems and service managers send it, and at the second time killed."""
    pytest.importorskip("nnunetv2")
    dataset, out = write_dataset(tmp_path / "Dataset013_Lungs", 8), tmp_path / "run"
    options = "--short --cycles 1 --epochs 12 --keep 2 --iterations 1 --device cpu".split()
    command = [sys.executable, "-m", "MedCLIPSAMLib", "weak", "train", str(dataset), "-o", str(out), *options]

    def in_an_epoch(running):
        assert any(re.search(r"epoch \d+ of 12: loss .* left", line) for line in running.stderr)
        return psutil.Process(running.pid).children(recursive=True)

    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, **output) as running:
        started = in_an_epoch(running)
        running.terminate()
        _, said = running.communicate(timeout=60)
    assert running.returncode == 143 and "goes on from nnU-Net's last checkpoint" in said and "Traceback" not in said
    _, alive = psutil.wait_procs(started, 5)
    assert started and not alive, "nnU-Net is taken with it"
    with subprocess.Popen(command, **output) as running:
        left = in_an_epoch(running)
        for process in left:
            process.suspend()  # so that it lives on while the next run is refused
        running.kill()
    refused = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert refused.returncode == 2 and "Another run is writing" in refused.stderr
    for process in left:
        process.kill()
    psutil.wait_procs(left, 20)
    again = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert again.returncode == 0, again.stderr
    (fold,) = out.glob(f"results/*/*/{FOLD}")
    assert len(list(fold.glob("cycle1_epoch001[12].safetensors"))) == 2
    epochs = [json.loads(line)["epoch"] for line in (fold / PROGRESS).read_text().splitlines()]
    assert epochs[0] > 1 and epochs[-1] == 12, "training resumed, it did not restart"
