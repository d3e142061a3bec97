"""The worker of a simulated cluster; it imports no models or libraries, so that many fit on one machine."""

import os
import random
import time

SPREAD = 0.3
"""Standard deviation of the logarithm of the sleeping times."""


class SleepingWorker:
    """A stand-in for a worker with models, which sleeps instead of computing and may die.

    Args:
        seconds: median time of a case; times are log-normal.
        deaths: fraction of cases in which the process ends, as if out of memory.
        seed: seed of times and deaths, combined with the case's name and the process id.
    """

    def __init__(self, seconds: float, deaths: float, seed: int) -> None:
        self._seconds, self._deaths, self._seed = seconds, deaths, seed

    def ready(self) -> int:
        """Return the process id."""
        return os.getpid()

    def do(self, case: str) -> dict:
        """Sleep for a case; return its manifest record with the seconds slept."""
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
