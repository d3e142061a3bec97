"""The overhead of the export's engine for clusters: a run on workers that sleep in place of computing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import require_extra
from ..export.cases import Case
from ..export.export import export
from ..export.job import ExportJob, ExportSettings
from ..export.manifest import read_records
from ..export.ray_engine import RayEngine
from ..run_context import RunContext
from ..segmentation.model_choice import ModelChoice
from .sleeping_worker import SleepingWorker


@dataclass(frozen=True)
class ClusterRun:
    """A simulated export.

    Attributes:
        workers, cases, seconds, deaths: the simulation; see `simulate_cluster`.
        wall: seconds from the first case to the last, without the start of the workers.
        slept: seconds that all workers slept together.
        done: cases in the manifest at the end, each once.
        failed: number of them recorded as failed, since their workers died.
    """

    workers: int
    cases: int
    seconds: float
    deaths: float
    wall: float
    slept: float
    done: int
    failed: int

    @property
    def busy(self) -> float:
        """Share of time in which the workers work: 1 where the engine costs nothing."""
        return self.slept / (self.wall * self.workers)

    @property
    def cases_a_second(self) -> float:
        """Cases that the engine schedules and records per second."""
        return self.done / self.wall


class _SleepingEngine(RayEngine):
    """The engine of a real cluster, with workers that sleep."""

    def __init__(self, workers: int, seconds: float, deaths: float, seed: int) -> None:
        super().__init__(ModelChoice(device="cpu"), workers)
        self._arguments = seconds, deaths, seed
        self.started = 0.0

    def _new_worker(self) -> Any:
        return self._ray.remote(num_cpus=1)(SleepingWorker).remote(*self._arguments)

    def _send(self, worker: Any, case: Case, following: Case | None, job: ExportJob) -> Any:
        self.started = self.started or time.monotonic()
        return worker.do.remote(case.name)


def simulate_cluster(
    workers: int = 64,
    cases: int = 2000,
    seconds: float = 1.0,
    deaths: float = 0.0,
    seed: int = 0,
    context: RunContext = RunContext(),
) -> ClusterRun:
    """Export imaginary cases by workers that sleep, through the real engine, manifest and report.

    Args:
        workers: processes of Ray on this machine, which need no core each, as they sleep.
        seconds: median time of a case; see `SleepingWorker` for `deaths`.
    """
    require_extra("cluster", "A simulated export")
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        engine = _SleepingEngine(workers, seconds, deaths, seed)
        with TemporaryDirectory() as name:
            out = Path(name) / "Dataset001_Simulated"
            found = [
                Case(f"case{number:06d}", Path(name) / f"{number}.nii.gz", {"lesion": "lesion"})
                for number in range(cases)
            ]
            export(found, engine, out, ExportSettings(), context)
            wall = time.monotonic() - engine.started
            records = read_records(out)
    finally:
        ray.shutdown()
    slept = sum(record["seconds"].get("segment", 0.0) for record in records.values())
    failed = sum(record["status"] == "failed" for record in records.values())
    return ClusterRun(workers, cases, seconds, deaths, wall, slept, len(records), failed)
