"""An export on a Ray cluster: workers that hold the models, one for each GPU, and a driver that holds the manifest.

A worker reads an image, segments it and writes its files. All workers therefore need the images, the dataset and the
models' folder under the same paths (a shared file system); only names and manifest lines cross the network. A worker
that dies is replaced, and its case is processed again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..choices import Precision
from ..errors import DeviceError, MedCLIPSAMError, require_extra, with_remedy
from ..run_context import RunContext
from ..segmentation.model_choice import ModelChoice
from ..segmentation.segmenter import TextSegmenter
from ..segmentation.settings import default_settings
from .cases import Case
from .engines import Write
from .job import ExportJob, LoadedCase, new_record, read_case, segment_case, write_result
from .known import Sources

ATTEMPTS = 3
"""Number of workers that may die at a case before it is recorded as failed."""

UNITS = "CPU", "GPU"
START = 600.0
"""Seconds without any worker after which an export gives up, as the cluster has no room."""
POLL = 1.0
"""Seconds between the driver's checks whether the run was cancelled."""


def start_ray(address: str | None, **options: Any) -> None:
    """Start Ray or join a cluster, and keep this program's SIGTERM handler: Ray's prints a stack trace and aborts."""
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class _Worker:
    """A Ray actor with the models."""

    def __init__(self, models: ModelChoice) -> None:
        self._models = models
        self._segmenter: TextSegmenter | None = None
        self._reader = ThreadPoolExecutor(1)
        self._next: dict[str, Future[LoadedCase]] = {}

    def ready(self) -> int:
        """Return the process ID, once the models are loaded."""
        self._load()
        return os.getpid()

    def do(self, case: Case, following: Case | None, job: ExportJob) -> dict:
        """Process a case, while the image of the case that will probably follow is read ahead."""
        segmenter = self._load()
        reading = self._next.get(case.name)
        loaded = reading.result() if reading else read_case(case)
        self._next = {following.name: self._reader.submit(read_case, following)} if following else {}
        return write_result(case, segment_case(segmenter, case, loaded, job.settings, RunContext()), job)

    def _load(self) -> TextSegmenter:
        """Return the models, loaded by the first call rather than the constructor, so that errors reach the caller."""
        if self._segmenter is None:
            self._segmenter = self._models.load()
        return self._segmenter


class RayEngine:
    """Engine that exports on a Ray cluster.

    Args:
        models: the models that every worker loads.
        workers: number of workers; None takes one for each GPU of the cluster, or without GPUs one for every two CPUs.
        address: address of the cluster, such as "auto" or "ray://head:10001"; None takes RAY_ADDRESS, or starts Ray
            here.

    Attributes:
        pids: process IDs of the workers that have become ready, for tests and administrators.

    Raises:
        InputError: ray is not installed. DeviceError: there is no cluster at that address. ModelError: a model is
            unknown.
    """

    def __init__(self, models: ModelChoice, workers: int | None = None, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        require_extra("cluster", "An export with Ray")
        import ray

        settings = models.settings or default_settings(models.clip, models.models_dir)
        if settings.precision == Precision.AUTO:  # the machines may differ, but the results must not
            settings = replace(settings, precision=Precision.F32)
        self._ray, self._models = ray, replace(models, settings=settings)
        self.pids: list[int] = []
        self.clip, self.sam, self.settings = models.clip, models.sam, settings
        paths = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        self._own = not ray.is_initialized()
        if self._own:
            try:
                start_ray(
                    address,
                    include_dashboard=False if address is None and not os.environ.get("RAY_ADDRESS") else None,
                    runtime_env={"env_vars": {"PYTHONPATH": paths}},
                )
            except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
                reason = str(error).strip().splitlines()[0]
                raise DeviceError(
                    f"No Ray cluster can be used at '{address or os.environ.get('RAY_ADDRESS') or 'here'}': {reason}",
                    "Start one by 'ray start --head', or see 'ray status'.",
                ) from error
        there = ray.cluster_resources()
        gpus = 0 if models.device == "cpu" else int(there.get("GPU", 0))
        self._count = workers or gpus or max(1, int(there.get("CPU", 1)) // 2)
        self._resources = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 1}

    def notes_on(self, prompts: Sequence[str]) -> list[str]:
        """See `Engine`."""
        return []

    def run(self, cases: Sequence[Case], job: ExportJob, write: Write, context: RunContext) -> Iterator[dict]:
        """See `engines.Engine`. A worker takes cases once its models are loaded; one that died is replaced.

        Raises:
            MedCLIPSAMError: a worker cannot load the models or write. DeviceError: no worker can start.
        """
        ray, job = self._ray, replace(job, out=job.out.resolve())
        waiting = deque((case, 1) for case in cases)
        running: dict[Any, tuple[Any, Case | None, int]] = {}  # by Ray's reference; a worker without a case starts
        idle: list[Any] = []
        self.pids, since = [], time.monotonic()

        def start_worker() -> None:
            worker = self._new_worker()
            running[worker.ready.remote()] = worker, None, 0

        def assign_cases() -> None:
            while idle and waiting:
                worker, (case, attempt) = idle.pop(), waiting.popleft()
                # A guess for reading ahead: if all workers are busy, they take the cases before this one.
                ahead = min(len(running) + 1, len(waiting)) - 1
                following = waiting[ahead][0] if ahead >= 0 else None
                running[self._send(worker, case, following, job)] = worker, case, attempt

        at_work = lambda: any(case for _, case, _ in running.values())
        try:
            for _ in cases[: self._count]:
                start_worker()
            while waiting or at_work():
                context.raise_if_cancelled()
                done, _ = ray.wait(list(running), num_returns=1, timeout=POLL)
                if not done:
                    if not at_work() and time.monotonic() - since > START:
                        raise self._no_room()
                    continue
                since = time.monotonic()
                worker, case, attempt = running.pop(done[0])
                record: dict | None = None
                try:
                    answer = ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise self._cause(error) from error
                except ray.exceptions.RayError as error:  # its process or machine is gone
                    ray.kill(worker)
                    if case is None and not running and not idle:
                        raise self._cause(error) from error
                    if case is not None:
                        start_worker()
                        if attempt < ATTEMPTS:
                            waiting.appendleft((case, attempt + 1))
                        else:
                            record = _dead_record(case)
                else:
                    idle.append(worker)
                    if case is None:
                        self.pids.append(answer)
                    else:
                        record = answer
                assign_cases()
                if record is not None:
                    write(record)
                    yield record
        finally:
            for worker in (*idle, *(worker for worker, _, _ in running.values())):
                ray.kill(worker)

    def close(self) -> None:
        """Disconnect from the cluster if this engine joined or started it."""
        if self._own:
            self._ray.shutdown()

    def _new_worker(self):
        return self._ray.remote(**self._resources)(_Worker).remote(self._models)

    def _send(self, worker, case: Case, following: Case | None, job: ExportJob):
        return worker.do.remote(case, following, job)

    def _no_room(self) -> DeviceError:
        there = self._ray.cluster_resources()
        has = ", ".join(f"{there[name]:g} {name}" for name in UNITS if name in there)
        return DeviceError(
            f"No worker could start in {START / 60:.0f} minutes; the cluster has {has}.",
            "Use fewer --workers, --device cpu, or a larger cluster.",
        )

    def _cause(self, error: Exception) -> MedCLIPSAMError:
        cause = getattr(error, "cause", None)
        refusal = with_remedy(cause) if isinstance(cause, Exception) else None
        if refusal is not None:
            return refusal
        reason = str(error).strip().splitlines()[-1]
        return DeviceError(f"A worker of the cluster failed: {reason}", "See the logs of Ray on that machine.")


def _dead_record(case: Case) -> dict:
    """Make the manifest line of a case at which workers died."""
    problem = f"The worker died {ATTEMPTS} times at this case, perhaps for lack of memory."
    return new_record(case) | {
        "source": Sources().describe(case.image),
        "problem": problem,
        "remedy": "Process it alone, on a machine with more memory, with --retry.",
    }
