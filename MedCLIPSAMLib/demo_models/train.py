"""Training of both demo models in parallel, on one core each.

Models this small gain little from a second thread: on the same two cores, two processes get a third more done.
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

from ..files.folder import atomic_folder
from ..run_context import RunContext
from .train_clip import ClipTraining, train_clip
from .train_sam import SamTraining, train_sam


def train_demo_models(folder: Path, clip: ClipTraining | None, sam: SamTraining | None) -> float:
    """Train the demo models from random weights and print the progress.

    Args:
        folder: where demo-clip/ and demo-sam/ are written, each atomically at the end of its training.
        clip, sam: settings; None skips that model.

    Returns:
        Elapsed seconds.
    """
    started = time.time()
    with ProcessPoolExecutor(
        2, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        running = []
        if sam is not None:
            running.append(pool.submit(_time_training, "sam", partial(train_sam, settings=sam), folder))
        if clip is not None:
            running.append(pool.submit(_time_training, "clip", partial(train_clip, settings=clip), folder))
        for future in running:
            future.result()
    return time.time() - started


def _time_training(name: str, train: Callable[..., None], folder: Path) -> None:
    """Run one training and print its processor time, which is the elapsed time on an otherwise idle core."""
    with atomic_folder(folder / f"demo-{name}") as temporary:
        train(temporary, context=RunContext(on_notice=_print))
    _print(f"{name}: {sum(os.times()[:4]) / 60:.1f} min of processor time, including making the phantoms")


def _print(line: str) -> None:
    print(line, flush=True)
