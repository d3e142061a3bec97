"""Run stock nnU-Net v2 as a process: its environment variables, commands, log and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from ..errors import ModelError
from ..run_context import RunContext

POLL = 0.3
"""Seconds between polls of a process."""

_PREPROCESS = (
    "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry; "
    "plan_and_preprocess_entry()"
)
_TRAIN = (
    "import json, sys, torch; from nnunetv2.run.run_training import run_training; options = json.loads(sys.argv[1]); "
    "run_training(device=torch.device(options.pop('device')), **options)"
)


def environment(raw: Path, out: Path) -> dict[str, str]:
    """Return the environment variables of this process together with those of nnU-Net for a run.

    Args:
        raw: the folder that contains the datasets.
        out: the run's folder, for everything that nnU-Net writes.
    """
    out = out.resolve()
    ours = {
        "nnUNet_raw": str(raw.resolve()),
        "nnUNet_preprocessed": str(out / "preprocessed"),
        "nnUNet_results": str(out / "results"),
        "nnUNet_extTrainer": str(Path(__file__).parent / "trainers"),
    }
    paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    return dict(os.environ) | ours | {"PYTHONPATH": paths}


def preprocess_command(number: int, configuration: str) -> list[str]:
    """Return the command of nnUNetv2_plan_and_preprocess for dataset `number`."""
    workers = str(max(1, min(8, os.cpu_count() or 1)))
    chosen = ["-d", str(number), "-c", configuration, "-np", workers, "-npfp", workers, "--clean"]
    return [sys.executable, "-c", _PREPROCESS, *chosen]


def limit_processes() -> dict[str, str]:
    """Return variables that keep nnU-Net from starting augmentation processes on a machine with at most four cores.

    They are for training only; the planner of nnU-Net 2.8 fails with them.
    """
    return {"nnUNet_n_proc_DA": "0"} if (os.cpu_count() or 1) <= 4 else {}


def choose_gpu(device: str) -> tuple[str, dict[str, str]]:
    """Return nnU-Net's name for a device, and variables that make GPU N of "cuda:N" the only one that it sees.

    nnU-Net itself always uses the first GPU.
    """
    kind, _, index = device.partition(":")
    if not index:
        return kind, {}
    seen = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    return kind, {"CUDA_VISIBLE_DEVICES": seen[int(index)] if seen else index}


def train_command(**options: Any) -> list[str]:
    """Return the command that calls nnU-Net's `run_training` with these arguments; `device` is a name."""
    return [sys.executable, "-c", _TRAIN, json.dumps(options)]


class Process:
    """A runner of nnU-Net's commands, each in a process group that ends with the call.

    Args:
        log: file to which the output of the commands is appended.
        variables: environment of the commands.
        lock: open file that the commands inherit, so that its lock persists if this process is killed.
        context: checked for cancellation.
    """

    def __init__(self, log: Path, variables: Mapping[str, str], lock: IO[str], context: RunContext) -> None:
        self._log, self._variables, self._lock, self._context = log, dict(variables), lock, context

    def run(
        self,
        command: list[str],
        look: Callable[[], None] = lambda: None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Run a command to its end.

        Args:
            command: the command with its arguments.
            look: called repeatedly while the command runs, and once after it.
            more: further environment variables for this command.

        Raises:
            ModelError: the command failed; the message has its last line.
            Cancelled: the context was cancelled.
        """
        inherited = (self._lock.fileno(),) if os.name != "nt" else ()
        with open(self._log, "ab") as log:
            start = log.tell()
            process = subprocess.Popen(
                command,
                env={**self._variables, **more},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=inherited,
            )
            try:
                while process.poll() is None:
                    look()
                    self._context.raise_if_cancelled()
                    time.sleep(POLL)
                look()
            finally:
                _end(process)
        if process.returncode:
            log_lines = self._log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
            last = next((line for line in reversed(log_lines) if line.strip()), "it wrote nothing")
            full = "out of memory" in last.lower()
            remedy = ("Use a smaller --batch, or --device cpu. " if full else "") + f"See '{self._log}'."
            raise ModelError(f"nnU-Net ended with code {process.returncode}: {last}", remedy)


def _end(process: subprocess.Popen) -> None:
    """Terminate a process and its children."""
    running = process.poll() is None
    if os.name == "nt":
        with suppress(OSError):  # Windows has no process groups
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGTERM if running else signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if os.name != "nt":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # children that it left behind
