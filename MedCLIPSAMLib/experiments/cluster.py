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
from ..export.ray_engine import RayEngine, start_ray
from ..run_context import RunContext
from ..segmentation.model_choice import ModelChoice
from .sleeping_worker import SleepingWorker


@dataclass(frozen=True)
class ClusterRun:
    """A simulated export.

    Attributes:
        workers, cases, seconds, deaths: the simulation; see `simulate_cluster`.
        wall: seconds from the first case to the last.
        slept: seconds that all workers slept together.
        busy: share of their time, each from its first case on, in which workers work: 1 where the engine costs nothing.
        done: cases in the manifest at the end, each once.
        failed: number of them recorded as failed, since their workers died.
        cases_a_second: that the engine schedules and records.
    """

    workers: int
    cases: int
    seconds: float
    deaths: float
    wall: float
    slept: float
    busy: float
    done: int
    failed: int
    cases_a_second: float


class _SleepingEngine(RayEngine):
    """The engine of a real cluster, with workers that sleep."""

    def __init__(self, workers: int, seconds: float, deaths: float, seed: int) -> None:
        super().__init__(ModelChoice(device="cpu"), workers)
        self._arguments = seconds, deaths, seed
        self.began: dict[Any, float] = {}
        """When each worker got its first case."""

    def _new_worker(self) -> Any:
        return self._ray.remote(num_cpus=1)(SleepingWorker).remote(*self._arguments)

    def _send(self, worker: Any, case: Case, following: Case | None, job: ExportJob) -> Any:
        self.began.setdefault(worker, time.monotonic())
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
        workers: processes of a Ray of their own on this machine, which need no core each, as they sleep.
        seconds: median time of a case; see `SleepingWorker` for `deaths`.
    """
    require_extra("cluster", "A simulated export")
    import ray

    start_ray("local", num_cpus=workers, include_dashboard=False)
    try:
        engine = _SleepingEngine(workers, seconds, deaths, seed)
        with TemporaryDirectory() as name:
            out = Path(name) / "Dataset001_Simulated"
            names = [f"case{number:06d}" for number in range(cases)]
            found = [Case(name, out.parent / f"{name}.nii.gz", {"lesion": "lesion"}) for name in names]
            export(found, engine, out, ExportSettings(), context)
            end = time.monotonic()
            records = read_records(out).values()
    finally:
        ray.shutdown()
    began = sorted(engine.began.values())
    wall, available = end - began[0], sum(end - moment for moment in began[:workers])  # others came for the dead
    slept = sum(record["seconds"].get("segment", 0.0) for record in records)
    failed = sum(record["status"] == "failed" for record in records)
    busy, rate = slept / available, len(records) / wall
    return ClusterRun(workers, cases, seconds, deaths, wall, slept, busy, len(records), failed, rate)
