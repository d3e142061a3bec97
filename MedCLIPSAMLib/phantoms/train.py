"""Training of both demo models side by side, a core each.

Two models this small gain little from a second thread; two processes do a third more on the same two cores.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

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
            running.append(pool.submit(train_sam, folder / "demo-sam", sam, _print))
        if clip is not None:
            running.append(pool.submit(train_clip, folder / "demo-clip", clip, _print))
        for future in running:
            future.result()
    return time.time() - started


def _print(line: str) -> None:
    print(line, flush=True)
