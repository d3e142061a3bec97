"""Processes side by side end with the run that started them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest

PROGRAM = """
import sys, time
from MedCLIPSAMLib.experiments.processes import process_pool

if __name__ == "__main__":
    with process_pool(1) as pool:
        running = [pool.submit(time.sleep, 100) for _ in range(3)]
        print("started", flush=True)
        running[0].result()
"""


KILLED = """
import os, signal
from MedCLIPSAMLib.errors import DeviceError
from MedCLIPSAMLib.experiments.processes import process_pool

if __name__ == "__main__":
    try:
        with process_pool(2) as pool:
            pool.submit(os.kill, 0, 0).result()
            pool.submit(os._exit, 9).result()
    except DeviceError as error:
        print(error.problem)
"""


def test_a_process_that_the_system_ends_is_told_with_a_remedy() -> None:
    run = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0 and "ended by the system" in run.stdout, run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no signals")
@pytest.mark.parametrize("idle", [0.0, 5.0], ids=["as it starts", "in a task"])
def test_an_interrupted_run_ends_at_once_with_its_processes(idle: float) -> None:
    run = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "started\n"
    time.sleep(idle)
    family = psutil.Process(run.pid).children(recursive=True)
    for _ in range(2):  # as timeout and impatient people do
        run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode != 0 and "KeyboardInterrupt" in err
    _, alive = psutil.wait_procs(family, 10)
    assert not alive
