"""Time to the first answer of commands in the shell and of Slicer's worker."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...command_worker.identity import SWITCH
from ...command_worker.place import supported
from ...phantoms.dataset import make_phantom
from ...resources import resource_path
from ...run_context import RunContext
from ...worker.client import WorkerClient
from ...worker.subprocess_transport import SubprocessTransport, worker_command
from ..phantom_benchmark import to_rgb


@dataclass(frozen=True)
class StartCost:
    """Minimum cost over several rounds, as other load on the machine only adds to it.

    Args:
        name: what was started.
        processor: CPU seconds, user and system; None if another process did the work.
        seconds: elapsed seconds until it ended.
    """

    name: str
    processor: float | None
    seconds: float


def start_costs(rounds: int, context: RunContext = RunContext()) -> list[StartCost]:
    """Measure with the shipped starter models on the CPU; each round runs all commands."""
    with tempfile.TemporaryDirectory(prefix="w") as name:
        folder = Path(name)
        environment = {**os.environ, "XDG_RUNTIME_DIR": name, SWITCH: "off"}
        served = {key: value for key, value in environment.items() if key != SWITCH}
        image, volume = (resource_path("samples") / file for file in ("breast_us.png", "lung_ct.nii.gz"))
        segment = ["segment", "--model", "starter", "--sam", "starter", "--device", "cpu", "--overwrite"]
        on_image = [*segment, str(image), "-p", "breast tumor", "-o", str(folder / "mask.png")]
        on_volume = [*segment, str(volume), "-p", "lungs", "-o", str(folder / "mask.nii.gz")]
        what: dict[str, Callable[[], tuple[float | None, float]]] = {
            "import torch": lambda: _run(["-c", "import torch"], environment),
            "medclipsam --help": lambda: _command(["--help"], environment),
            "medclipsam segment --help": lambda: _command(["segment", "--help"], environment),
            "medclipsam segment, a PNG": lambda: _command(on_image, environment),
            "medclipsam segment, a slice of NIfTI": lambda: _command(on_volume, environment),
            "Slicer's worker, to its first mask": lambda: _time(_first_answer),
        }
        if supported():
            _command(["worker", "start"], served)
            _command(on_image, served)
            what["medclipsam segment, a PNG, in a running worker"] = lambda: (None, _command(on_image, served)[1])
        try:
            found: dict[str, list[tuple[float | None, float]]] = {key: [] for key in what}
            for number in range(rounds):
                for key, measure in what.items():
                    found[key].append(measure())
                context.notify(f"start: round {number + 1} of {rounds}")
        finally:
            if supported():
                _command(["worker", "stop"], served)
    costs = []
    for key, measured in found.items():
        processor = [used for used, _ in measured if used is not None]
        costs.append(StartCost(key, min(processor) if processor else None, min(seconds for _, seconds in measured)))
    return costs


def _command(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    return _run(["-m", "MedCLIPSAMLib", *arguments], environment)


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float]:
    command = [sys.executable, *arguments]
    return _time(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))


def _first_answer() -> None:
    """Start a worker process, wait for its first mask, and end it."""
    transport = SubprocessTransport(worker_command())
    client = WorkerClient(transport)
    try:
        client.load("starter", "starter", "cpu")
        client.set_image("brain", to_rgb(make_phantom("samples", 1, "MR", 1)))
        transport.wait(client.segment("brain", ["brain tumor"]), 600)
    finally:
        client.shutdown()


def _time(work: Callable[[], object]) -> tuple[float, float]:
    """Run work in child processes that end with it; return CPU seconds and elapsed seconds."""
    before, started = os.times(), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - started, os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return used, seconds
