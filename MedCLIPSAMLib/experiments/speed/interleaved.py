"""Times of several variants run in turns, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from ...run_context import RunContext

Made = TypeVar("Made")


def synchronize(device: torch.device) -> None:
    """Wait until the GPU has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class VariantTimes:
    """Seconds of each variant by round."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """Return the median of the seconds of a variant."""
        return statistics.median(self.seconds[name])

    def times_faster(self, name: str, than: str) -> tuple[float, float, float]:
        """Return the median, minimum and maximum, over the rounds, of the time of `than` divided by that of `name`."""
        ratios = [slow / fast for slow, fast in zip(self.seconds[than], self.seconds[name])]
        return statistics.median(ratios), min(ratios), max(ratios)


def interleaved(
    variants: Mapping[str, Callable[[], Made]],
    rounds: int,
    once: tuple[str, ...] = (),
    context: RunContext = RunContext(),
) -> tuple[VariantTimes, dict[str, Made]]:
    """Time each variant once per round, after an untimed call of each; also return the results of the last calls.

    Args:
        once: variants to run without the untimed call, as they take minutes.
        context: notified of every round.
    """
    for name, call in variants.items():
        if name not in once:
            call()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    results: dict[str, Made] = {}
    for number in range(rounds):
        for name, call in variants.items():
            started = time.perf_counter()
            results[name] = call()
            seconds[name].append(time.perf_counter() - started)
        took = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items())
        context.notify(f"round {number + 1} of {rounds}: {took}")
    return VariantTimes(seconds), results
