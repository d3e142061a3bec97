"""Training of both demo models side by side, a core each.

Two models this small gain little from a second thread; two processes do a third more on the same two cores.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from ..run_context import RunContext
from .train_clip import ClipTraining, train_clip
from .train_sam import SamTraining, train_sam


def train_demo_models(folder: Path, clip: ClipTraining | None, sam: SamTraining | None) -> float:
    """Train the demo models from random weights, printing their progress.

    Args:
        folder: where demo-clip/ and demo-sam/ are written.
        clip, sam: settings; None leaves that model alone.

    Returns:
        Seconds taken, by the wall clock.
    """
    started = time.time()
    with ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        running = []
        if sam is not None:
            running.append(pool.submit(_time_training, "sam", partial(train_sam, folder / "demo-sam", sam)))
        if clip is not None:
            running.append(pool.submit(_time_training, "clip", partial(train_clip, folder / "demo-clip", clip)))
        for future in running:
            future.result()
    return time.time() - started


def _time_training(name: str, train: Callable[[RunContext], None]) -> None:
    """Run one training and print its processor time: the wall clock of a core that does nothing else."""
    train(RunContext(on_notice=_print))
    _print(f"{name}: {sum(os.times()[:4]) / 60:.1f} min of processor time, the making of phantoms included")


def _print(line: str) -> None:
    print(line, flush=True)
