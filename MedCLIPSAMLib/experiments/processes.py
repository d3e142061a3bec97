"""Parallel processes that end with the run that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from ..errors import DeviceError
from ..signals import ending_signals


@contextmanager
def process_pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of single-threaded processes, which are terminated if the block fails or is interrupted.

    Raises:
        DeviceError: a process died unexpectedly.
    """
    with _interrupted_once(), ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                while process.is_alive():  # it has one more task queued
                    process.terminate()
                    process.join(5)
            pool.shutdown()
            if isinstance(error, BrokenProcessPool):
                raise DeviceError(
                    "A process of the run was ended by the system, perhaps for lack of memory.",
                    "Run fewer processes at once. Finished parts in a work folder are not computed again.",
                ) from error
            raise


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let Ctrl+C interrupt the block only once, as a second one could leave its processes behind."""
    if threading.current_thread() is not threading.main_thread() or signal.SIGINT not in ending_signals():
        yield
        return

    def interrupt(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start() -> None:
    """Initialize a process: exit on SIGTERM, leave other signals to the parent process, and use one thread."""
    for number in ending_signals():
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
