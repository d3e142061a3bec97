"""Train an nnU-Net on a dataset of pseudo-labels: stock nnunetv2 in a separate process, with this package's trainer.

OUT/run.json       the dataset and the settings; a run with another dataset or settings is refused
OUT/preprocessed   nnU-Net's preprocessed data and plans
OUT/results        nnU-Net's results; model in DatasetNNN_NAME/nnUNetTrainerMedCLIPSAM__nnUNetPlans__CONFIGURATION
OUT/training.log   the output of nnU-Net
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from ..choices import Configuration
from ..counted import counted
from ..errors import DeviceError, InputError, ModelError, require_extra
from ..files.atomic import move
from ..files.claim import claim
from ..files.json_text import write_json
from ..models.device import resolve_device
from ..run_context import RunContext
from ..validated import Choice, settings_class
from .process import Process, choose_gpu, environment, limit_processes, preprocess_command, train_command
from .raw_dataset import RawDataset, check_voxels, read_dataset
from .schedule import IN_PLANS, SEED_IN_PLANS, Schedule

TRAINER, PLANS, FOLD = "nnUNetTrainerMedCLIPSAM", "nnUNetPlans", "fold_all"
RUN, LOG, PROGRESS = "run.json", "training.log", "progress.jsonl"
FIGURES = ("epoch", "epochs", "rate", "loss", "validation_loss", "dsc")
"""Figures of a finished epoch: its number, the total, the learning rate, the losses, and the progress curve's DSC."""


@settings_class
class TrainSettings:
    """Settings of the training; the defaults are the paper's.

    Args:
        schedule: cycles, epochs and learning rate.
        configuration: nnU-Net's configuration, "2d" or "3d_fullres".
        batch: images per step; None leaves this to nnU-Net's planner.
        width: channels of the network's first stage; None leaves this to nnU-Net (32 for a new plan).
        seed: seed of the weights, batches and augmentation; None takes another one in every run. With more than four
            cores, nnU-Net augments in processes that the seed does not reach. A resumed run repeats the random numbers
            of its start.
    """

    schedule: Schedule = field(default_factory=Schedule)
    configuration: Choice[Configuration] = Configuration.FLAT
    batch: Annotated[int | None, Field(ge=2)] = None
    width: Annotated[int | None, Field(ge=2)] = None
    seed: Annotated[int | None, Field(ge=0, lt=2**32)] = None


SHORT = TrainSettings(Schedule(epochs=10, keep=3, iterations=30, validations=4), batch=8, width=8)
"""Settings for trials and tests: a small network and few steps, which take minutes on two cores."""


def train(
    dataset: Path,
    out: Path,
    settings: TrainSettings = TrainSettings(),
    device: str = "cpu",
    gpus: int = 1,
    context: RunContext = RunContext(),
) -> Path:
    """Train, or resume a stopped run, and return the folder of the model.

    Args:
        dataset: folder DatasetNNN_Name, as written by `medclipsam export`.
        out: folder of the run; it must be new, empty, or of the same run.
        settings: settings of the training.
        device: see `models.device.resolve_device`.
        gpus: number of this machine's GPUs for nnU-Net's distributed training.
        context: notified at each stage; receives finished epochs with the figures in `FIGURES`.

    Raises:
        InputError: the dataset cannot be used for training, or nnunetv2 is not installed.
        OutputError: the folder contains something else, or another run is writing to it.
        DeviceError: the device is not available, or has fewer GPUs than `gpus`.
        ModelError: nnU-Net failed; the message has its last line.
        Cancelled: the context was cancelled.
    """
    require_extra("weak", "nnU-Net")
    kind, gpu = choose_gpu(str(resolve_device(device)))
    available = torch.cuda.device_count() if kind == "cuda" and not gpu else 1
    if gpus > available:
        raise DeviceError(
            f"Expected {gpus} GPUs, got {available} for the device '{device}'.",
            "Request fewer GPUs, or give 'cuda' as the device to use all.",
        )
    found = read_dataset(dataset)
    same_number = found.folder.parent.glob(f"Dataset{found.number:03d}*")
    others = [path.name for path in same_number if path.is_dir() and path != found.folder]
    if others:
        raise InputError(
            f"'{found.folder.name}' and '{others[0]}' have the same number, by which nnU-Net finds datasets.",
            "Give one of them another number.",
        )
    request = {"dataset": str(found.folder), "labels of the dataset": _state(found), "settings": asdict(settings)}
    with claim(out, RUN, request) as lock:
        process = Process(out / LOG, environment(found.folder.parent, out), lock, context)
        done = out / "preprocessed" / ".done"
        if not done.is_file():
            context.notify(f"Checking {counted(len(found.cases), 'case')}...")
            check_voxels(found)
            context.notify("nnU-Net is planning and preprocessing...")
            process.run(preprocess_command(found.number, settings.configuration))
            _change_plans(out / "preprocessed" / found.folder.name / f"{PLANS}.json", settings)
            done.touch()
        model = out / "results" / found.folder.name / f"{TRAINER}__{PLANS}__{settings.configuration}"
        if not is_finished(model, settings.schedule):
            context.notify(
                f"nnU-Net is training for {counted(settings.schedule.total, 'epoch')}; its output is in {out / LOG}..."
            )
            command = train_command(
                dataset_name_or_id=found.folder.name,
                configuration=settings.configuration,
                fold="all",
                trainer_class_name=TRAINER,
                num_gpus=gpus,
                device=kind,
                continue_training=_continues(model / FOLD),
            )
            process.run(command, _Watch(model / FOLD / PROGRESS, context), limit_processes() | gpu)
        if not is_finished(model, settings.schedule):
            raise ModelError(f"nnU-Net left no complete ensemble in '{model}'.", f"See '{out / LOG}'.")
        return model


def model_folder(path: Path) -> Path:
    """Find the model's folder in a run's folder, or return `path` itself if it is a model's folder.

    Raises:
        ModelError: the folder is neither.
    """
    if (path / "plans.json").is_file() and (path / FOLD).is_dir():
        return path
    found = sorted(path.glob(f"results/Dataset*/{TRAINER}__{PLANS}__*/{FOLD}"))
    if len(found) != 1:
        raise ModelError(f"'{path}' holds no trained nnU-Net.", "Give the folder that medclipsam weak train wrote.")
    return found[0].parent


def has_checkpoint(out: Path) -> bool:
    """Tell whether a run's folder contains a checkpoint of nnU-Net to resume from."""
    return any(out.glob(f"results/*/{TRAINER}__*/{FOLD}/checkpoint_*.pth"))


def is_finished(model: Path, schedule: Schedule) -> bool:
    """Tell whether every checkpoint of the ensemble exists."""
    return all((model / FOLD / name).is_file() for name in schedule.files())


class _Watch:
    """A callable that reports the epochs that a training has finished since the last call."""

    def __init__(self, path: Path, context: RunContext) -> None:
        self._path, self._context, self._reported = path, context, 0

    def __call__(self) -> None:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for line in lines[self._reported :]:
            try:
                entry = json.loads(line)
            except ValueError:  # the line is still being written
                return
            self._reported += 1
            left = (entry["epochs"] - entry["epoch"]) * entry["seconds"] / self._reported
            figures = {name: entry[name] for name in FIGURES}
            message = f"loss {entry['loss']:.3f}, DSC {entry['dsc']:.2f}"
            self._context.report(entry["epoch"], entry["epochs"], message, seconds_left=left, **figures)


def _continues(fold: Path) -> bool:
    """Tell whether nnU-Net finds a checkpoint to resume from, and move the earlier progress file aside."""
    progress = fold / PROGRESS
    if progress.is_file():
        move(progress, progress.with_name(f"progress-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"))
    return any(fold.glob("checkpoint_*.pth"))


def _state(dataset: RawDataset) -> str:
    """Compute a checksum over the names, sizes and modification times of a dataset's labels and its dataset.json."""
    digest = hashlib.sha256()
    for path in (dataset.folder / "dataset.json", *(dataset.label(case) for case in dataset.cases)):
        about = path.stat()
        digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _change_plans(path: Path, settings: TrainSettings) -> None:
    """Write the schedule, seed, batch and width into nnU-Net's plans, where the trainer reads them."""
    plans: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if settings.configuration not in plans["configurations"]:
        raise InputError(f"nnU-Net planned no '{settings.configuration}' for these images.", "For 2-D images, use 2d.")
    plans[IN_PLANS] = asdict(settings.schedule)
    if settings.seed is not None:
        plans[SEED_IN_PLANS] = settings.seed
    chosen = plans["configurations"][settings.configuration]
    if settings.batch:
        chosen["batch_size"] = settings.batch
    if settings.width:
        stages = chosen["architecture"]["arch_kwargs"]["n_stages"]
        widths = [min(settings.width * 2**stage, 16 * settings.width) for stage in range(stages)]
        chosen["architecture"]["arch_kwargs"]["features_per_stage"] = widths
    write_json(path, plans)
