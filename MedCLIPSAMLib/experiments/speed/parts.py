"""A profile of a call: the time spent in named functions, each without the named functions that it calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch

from .interleaved import synchronize

OTHER = "else"
Place = tuple[Any, str]
"""A module or class, and the name of a function in it."""


class PartTimes:
    """Seconds by part, with the GPU synchronized at the end of each part.

    Args:
        device: device of the tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._open = [OTHER]
        self._since = time.perf_counter()

    def within(self, name: str, function: Callable) -> Callable:
        """Wrap a function so that it is timed as the part `name`."""

        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            self._switch(lambda: self._open.append(name))
            try:
                return function(*args, **named)
            finally:
                self._switch(self._open.pop)

        return timed

    def _switch(self, change: Callable[[], Any]) -> None:
        synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        change()
        self._since = time.perf_counter()

    def end(self) -> None:
        """Add the time since the last part ended."""
        self._switch(lambda: None)


@contextmanager
def time_parts(places: Mapping[str, Sequence[Place]], device: torch.device) -> Iterator[PartTimes]:
    """Time functions while the context is open, in one thread.

    Args:
        places: the functions of each part, by the part's name.
    """
    with ExitStack() as stack:
        times = PartTimes(device)
        for name, some in places.items():
            for owner, function in some:
                stack.enter_context(patch.object(owner, function, times.within(name, getattr(owner, function))))
        times._since = time.perf_counter()
        yield times
        times.end()


def measure_kernel_seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds that a GPU was busy during a call: the union of the times of its kernels and copies."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as profiler:
        call()
        torch.cuda.synchronize(device)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    )
    total = reached = 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6
