"""What happens to a command whose terminal is closed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty", reason="this system has no terminals that are closed")
ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "Resources/samples/breast_us.png"


@pytest.mark.parametrize("by", [[], ["nohup"]], ids=["alone", "by nohup"])
def test_a_closed_terminal_ends_a_command_in_order_and_nohup_lets_it_go_on(tmp_path, by) -> None:
    """The masks that are done stay, and nothing unfinished does, however often the shell and the kernel say it."""
    images = [tmp_path / f"{number}.png" for number in range(12)]
    for image in images:
        image.write_bytes(IMAGE.read_bytes())
    out, log = tmp_path / "masks", tmp_path / "log"
    command = [*by, sys.executable, "-m", "MedCLIPSAMLib", "--log-file", str(log), "segment", *map(str, images)]
    command += ["-p", "breast tumor", "-o", str(out), "--format", "png", "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MEDCLIPSAM_WORKER": "off", "PYTHONPATH": str(ROOT)}
    process, terminal = pty.fork()
    if not process:
        os.chdir(tmp_path)
        os.execvpe(command[0], command, environment)
    until = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 2:
        assert time.monotonic() < until and not os.waitpid(process, os.WNOHANG)[0]
        time.sleep(0.02)
    os.close(terminal)
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        os.kill(process, signal.SIGHUP)
        time.sleep(0.005)
    code = os.waitstatus_to_exitcode(ended[1])
    masks = list(out.glob("*.png"))
    if by:
        assert code == 0 and len(masks) == len(images)
    else:
        assert code == 129 and len(masks) < len(images) and not list(out.glob(".*.partial"))
