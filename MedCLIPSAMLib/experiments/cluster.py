"""The overhead of the cluster export engine, measured with workers that sleep instead of computing."""

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
        workers, cases, seconds, deaths: settings of the simulation; see `simulate_cluster`.
        wall: seconds from the first case to the last.
        slept: seconds slept, summed over all workers.
        busy: fraction of the workers' time, each counted from its first case, spent working; 1 if the engine has no
            overhead.
        done: number of distinct cases in the manifest at the end.
        failed: number of cases recorded as failed because their workers died.
        cases_a_second: cases scheduled and recorded by the engine per second.
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
    """The engine used on real clusters, with sleeping workers."""

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
    """Export imaginary cases with sleeping workers, through the real engine, manifest and report.

    Args:
        workers: number of worker processes, in a local Ray instance of their own. As they sleep, they may outnumber
            the cores.
        seconds: median time of a case.
        deaths: see `SleepingWorker`.
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
    wall, available = end - began[0], sum(end - moment for moment in began[:workers])  # later workers replace dead ones
    slept = sum(record["seconds"].get("segment", 0.0) for record in records)
    failed = sum(record["status"] == "failed" for record in records)
    busy, rate = slept / available, len(records) / wall
    return ClusterRun(workers, cases, seconds, deaths, wall, slept, busy, len(records), failed, rate)
