"""What happens to a command whose terminal is closed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.datasets import write_breast_set

pty = pytest.importorskip("pty", reason="this system has no terminals that are closed")
ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "Resources/samples/breast_us.png"


def start(command, folder):
    """Start a command on a terminal of its own; return its number and the terminal."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MEDCLIPSAM_WORKER": "off", "PYTHONPATH": str(ROOT)}
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execvpe(command[0], command, environment)
    return process, terminal


def hang_up(process):
    """Say that the terminal is closed until the command ends; return its exit code."""
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        os.kill(process, signal.SIGHUP)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


@pytest.mark.parametrize("by", [[], ["nohup"]], ids=["alone", "by nohup"])
def test_a_closed_terminal_ends_a_command_in_order_and_nohup_lets_it_go_on(tmp_path, by) -> None:
    """The masks that are done stay, and nothing unfinished does, however often the shell and the kernel say it."""
    images = [tmp_path / f"{number}.png" for number in range(6)]
    for image in images:
        image.write_bytes(IMAGE.read_bytes())
    out, log = tmp_path / "masks", tmp_path / "log"
    command = [*by, sys.executable, "-m", "MedCLIPSAMLib", "--log-file", str(log), "segment", *map(str, images)]
    command += ["-p", "breast tumor", "-o", str(out), "--format", "png", "--device", "cpu"]
    process, terminal = start(command, tmp_path)
    until = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 2:
        assert time.monotonic() < until and not os.waitpid(process, os.WNOHANG)[0]
        time.sleep(0.02)
    os.close(terminal)
    code = hang_up(process)
    masks = list(out.glob("*.png"))
    if by:
        assert code == 0 and len(masks) == len(images)
    else:
        assert code == 129 and len(masks) < len(images) and not list(out.glob(".*.partial"))


def test_a_training_whose_terminal_is_closed_where_it_prints_keeps_its_checkpoint(tmp_path):
    """It prints at its first and second step: the terminal is closed between them."""
    write_breast_set(tmp_path / "data")
    command = [sys.executable, "-m", "MedCLIPSAMLib", "starter", "train", "data", "-o", "out", "--only", "clip"]
    process, terminal = start([*command, "--steps", "9000", "--trial", "--device", "cpu"], tmp_path)
    said = b""
    while b"clip step 1 " not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    assert hang_up(process) == 129
    assert torch.load(tmp_path / "out" / "clip.checkpoint", weights_only=True)["step"] in (1, 2)
