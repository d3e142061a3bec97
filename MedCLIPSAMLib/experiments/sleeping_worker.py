"""A worker of a simulated cluster. It imports nothing, so that many of them fit on one machine."""

import os
import random
import time

SPREAD = 0.3
"""Standard deviation of the logarithm of the times."""


class SleepingWorker:
    """Stands in for a worker with models: it sleeps for the time of the computation, and may die.

    Args:
        seconds: median time of a case; times are log-normal.
        deaths: share of cases at which the process ends, as when memory runs out.
        seed: of times and deaths, together with each case's name and the process.
    """

    def __init__(self, seconds: float, deaths: float, seed: int) -> None:
        self._seconds, self._deaths, self._seed = seconds, deaths, seed

    def ready(self) -> int:
        """Return the process."""
        return os.getpid()

    def do(self, case: str) -> dict:
        """Sleep for a case; return its line of the manifest, and the seconds that it slept."""
        chance = random.Random(f"{self._seed} {case} {os.getpid()}")
        seconds = self._seconds * chance.lognormvariate(0, SPREAD)
        time.sleep(seconds)
        if chance.random() < self._deaths:
            os._exit(1)
        label = {"prompt": "lesion", "status": "found", "score": 0.9, "size": 1.0, "unit": "ml", "voxels": 1000}
        return {
            "case": case,
            "image": case,
            "status": "found",
            "labels": {"lesion": label},
            "files": [],
            "seconds": {"segment": seconds},
            "source": {},
        }
