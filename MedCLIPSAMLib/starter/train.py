"""Training of both starter models in parallel, each in its own process.

Models this small leave a GPU idle between kernel launches and gain little from a second thread on a CPU, so two
processes in parallel use either better than one after the other.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..errors import InputError
from ..models.device import fast_bfloat16, resolve_device
from ..phantoms.dataset import make_phantom
from ..phantoms.volumes import VolumePhantom, many_volumes
from ..run_context import RunContext
from ..signals import ending_signals
from .clip_training import ClipTraining, train_clip
from .examples import Example, from_phantom
from .pack import read_pack
from .real_data import read_examples
from .sam_training import SamTraining, train_sam
from .training import Budget, TrainingRun

MODELS = ("clip", "sam")


@dataclass(frozen=True)
class StarterTraining:
    """A training of the starter models.

    Args:
        data: a folder of data sets (see `real_data`), or a file made by `starter pack`.
        folder: where starter-clip/, starter-sam/ and the checkpoints are written.
        phantoms, volumes: number of synthetic images for each model, and of synthetic volumes for the memory.
        limit: maximum number of real images, for a trial run.
        models: names in `MODELS` of the models to train.
    """

    data: Path
    folder: Path
    budget: Budget
    device: str = "auto"
    phantoms: int = 3000
    volumes: int = 80
    limit: int | None = None
    models: tuple[str, ...] = MODELS
    clip: ClipTraining = field(default_factory=ClipTraining)
    sam: SamTraining = field(default_factory=SamTraining)
    resume: bool = False


def train_starter(training: StarterTraining) -> None:
    """Train the starter models and print the progress; KeyboardInterrupt stops the training after a checkpoint.

    The data is prepared once. The GPU is not used before the processes are forked, as its state does not survive a
    fork.

    Raises:
        Cancelled: the training was interrupted.
        InputError: the data cannot be used.
        ModelError: a checkpoint is damaged or has other settings.
        OutputError: the disk is full.
        DeviceError: the device does not exist.
    """
    examples = read_training_examples(training, RunContext(on_notice=_print))
    volumes = many_volumes("train", training.volumes, _workers()) if "sam" in training.models else []
    _print(f"{len(examples)} images and {len(volumes)} volumes read")
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(len(training.models), context, _receive, (examples, volumes)) as pool:
        running = [pool.submit(_train, name, training) for name in training.models]
        try:
            wait(running)
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()  # it writes its checkpoint before it ends
    for done in running:  # a failure of one has not stopped the other
        done.result()


_prepared: tuple[list[Example], list[VolumePhantom]] = ([], [])
"""The data of this process, which trains one model."""


def _receive(examples: list[Example], volumes: list[VolumePhantom]) -> None:
    global _prepared
    _prepared = examples, volumes


def read_training_examples(training: StarterTraining, context: RunContext = RunContext()) -> list[Example]:
    """Read the real examples and make the phantoms.

    Raises:
        InputError: see `read_pack` and `read_examples`.
    """
    if training.data.is_file():
        examples = read_pack(training.data)
    elif training.data.is_dir():
        examples = list(read_examples(training.data, context))
    else:
        raise InputError(f"Expected a folder or a pack at '{training.data}', but there is none.", "See 'starter pack'.")
    if not examples:
        raise InputError(f"Expected readable training images in '{training.data}', got none.", "Complete the data.")
    if training.limit is not None:
        examples = _spread(examples, training.limit)
    with ProcessPoolExecutor(_workers()) as pool:
        return examples + list(pool.map(_phantom, range(training.phantoms), chunksize=16))


def _phantom(index: int) -> Example:
    return from_phantom(make_phantom("train", index))


def _spread(examples: list[Example], limit: int) -> list[Example]:
    """Take about `limit` examples from all sources, without splitting stacks."""
    by_source: dict[str, list[Example]] = {}
    for example in examples:
        by_source.setdefault(example.source, []).append(example)
    share = max(1, limit // len(by_source))
    return [example for group in by_source.values() for example in group[: max(share, 16)]]


def _train(name: str, training: StarterTraining) -> None:
    """Train one model, as the main function of its process."""
    stopped: list[int] = []
    for number in ending_signals():
        signal.signal(number, lambda number, frame: stopped.append(number))
    context = RunContext(on_notice=_print, is_cancelled=lambda: bool(stopped))
    device = resolve_device(training.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        if not fast_bfloat16(device):
            _print("This GPU does not support bfloat16: matrix products are computed in float32, which takes longer.")
    else:
        torch.set_num_threads(max(1, _workers() // len(training.models)))
    examples, volumes = _prepared
    run = TrainingRun(training.budget, device, training.folder / f"{name}.checkpoint", training.resume, context)
    if name == "clip":
        train_clip(training.folder / "starter-clip", examples, run, training.clip)
    else:
        train_sam(training.folder / "starter-sam", examples, volumes, run, training.sam)


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _print(line: str) -> None:
    with suppress(OSError):  # a closed terminal or pipe must not prevent the checkpoint
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
