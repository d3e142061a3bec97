"""The paper's weakly supervised stage, tried on phantoms: pseudo-labels by text, a nnU-Net trained on them, its review.

For each task, on phantoms that neither the demo models nor any choice has seen: the zero-shot masks of the training
images become a dataset, by the same export that users have. nnU-Net is trained on it, and on the true masks of the
same images (full supervision). Compared on test phantoms: zero-shot, the last checkpoint of the training on
pseudo-labels (a plain nnU-Net), the ensemble of its checkpoints (weak), and the ensemble of full supervision. Then a
person who corrects the least sure cases is imagined, beside one who takes them at random and one who knows the worst.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk

from ..evaluation.compare import compare_paired, error_after_review
from ..evaluation.metrics import dsc, nsd
from ..nnunet.schedule import Schedule
from ..nnunet.train import SHORT, TrainSettings
from ..run_context import RunContext
from .phantom_benchmark import TASKS, PhantomTask, to_rgb
from .prompted import NSD_TOLERANCE

COLUMNS = {"us_tumour": "US", "mri_tumour": "MRI", "xray_lungs": "X-ray", "ct_lungs": "CT"}
"""The paper's four data sets, and our tasks that stand for them."""

ROWS = {
    "zero_shot": "zero-shot",
    "last": "nnU-Net on pseudo-labels, last checkpoint",
    "weak": "weak: ensemble of checkpoints",
    "full": "full supervision: ensemble",
}
SHARES = (0.05, 0.10, 0.20)
ORDERS = ("expected_loss", "entropy_share")
OFFSET = 300_000
"""Index of the first phantom of each split: far from those that anything was trained, chosen or measured on."""


@dataclass(frozen=True)
class WeakPlan:
    """How large the trial is.

    Args:
        train, validation, test: phantoms a task; the order of review is chosen on validation.
        training: of every network.
        tasks: of `COLUMNS`.
    """

    train: int = 120
    validation: int = 40
    test: int = 100
    training: TrainSettings = field(
        default_factory=lambda: replace(SHORT, schedule=replace(SHORT.schedule, iterations=50))
    )
    tasks: tuple[str, ...] = tuple(COLUMNS)


def reproduce(
    plan: WeakPlan = WeakPlan(),
    processes: int = 2,
    work: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Run the trial, a task on a core, `processes` of them side by side.

    Args:
        work: folder of the datasets and trainings, to go on from; a temporary one by default.
        context: notified as tasks are done.

    Returns:
        {"plan", "tasks": {task: {"pseudo_labels": {...}, "validation", "test": {row: {"dsc", "nsd"}: values by case},
        "orders": {order: values by case}}, "seconds"}}}.
    """
    with TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread) as pool:
            running = {pool.submit(_task, name, plan, folder): name for name in plan.tasks}
            tasks = {}
            for future in as_completed(running):
                tasks[running[future]] = future.result()
                context.notify(f"{running[future]}: {tasks[running[future]]['seconds'] / 60:.0f} min")
    return {"plan": asdict(plan), "tasks": {name: tasks[name] for name in plan.tasks}}


def summary(figures: dict) -> dict:
    """Summarize what is printed: means a row and task, the pooled differences, and the error left after review.

    Returns:
        {"rows": {row: {metric: {task: mean, "all": mean}}}, "differences": {"weak - zero_shot": Paired as dict, ...},
        "validation_review", "review": {order: {share: mean error}}, the orders, "random" and "worst first" among them}.
    """
    tasks = figures["tasks"]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for row in ROWS:
        rows[row] = {}
        for metric in ("dsc", "nsd"):
            means = {name: float(np.mean(task["test"][row][metric])) for name, task in tasks.items()}
            rows[row][metric] = means | {"all": float(np.mean(list(means.values())))}
    pooled = lambda row: np.concatenate([task["test"][row]["dsc"] for task in tasks.values()]).tolist()
    pairs = (("zero_shot", "last"), ("last", "weak"), ("zero_shot", "weak"), ("weak", "full"))
    differences = {
        f"{second} - {first}": asdict(compare_paired(pooled(first), pooled(second))) for first, second in pairs
    }
    return {
        "rows": rows,
        "differences": differences,
        "validation_review": _review(tasks, "validation"),
        "review": _review(tasks, "test"),
    }


def _review(tasks: dict, split: str) -> dict:
    """Mean 1 - DSC over all tasks' cases that is left after review of a share of them, by order."""
    errors = 1 - np.concatenate([task[split]["weak"]["dsc"] for task in tasks.values()])
    orders = {
        name: np.concatenate([task[split]["orders"][name] for task in tasks.values()])
        for name in next(iter(tasks.values()))[split]["orders"]
    }
    left = {
        name: {share: error_after_review(errors, order, share) for share in (0.0, *SHARES)}
        for name, order in (orders | {"worst first": errors}).items()
    }
    random = {share: float(errors.mean()) * (1 - round(share * errors.size) / errors.size) for share in (0.0, *SHARES)}
    return left | {"random": random}


def _one_thread() -> None:
    """One thread for this process and those that it starts: trainings run side by side, a core each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


def _task(name: str, plan: WeakPlan, folder: Path) -> dict:
    """Do a task from the phantoms to the figures; where it was done before, read its file."""
    result = folder / f"{name}.json"
    if result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    from ..nnunet.train import train
    from ..segmentation.segmenter import load_segmenter
    from ..volumes import read_volume

    started, task = time.time(), TASKS[name]
    number = list(TASKS).index(name)
    images = {split: _write_images(folder / name, task, split, count) for split, count in _counts(plan).items()}
    segmenter = load_segmenter("demo", "demo", "cpu")
    weak = folder / name / f"Dataset{600 + number}_Weak"
    counts = _export(task, images["train"], segmenter, weak)
    full = folder / name / f"Dataset{700 + number}_Full"
    _true_dataset(task, images["train"], full)
    runs = {"weak": folder / name / "weak-run", "full": folder / name / "full-run"}
    for dataset, out in ((weak, runs["weak"]), (full, runs["full"])):
        train(dataset, out, plan.training, "cpu")
    figures: dict[str, Any] = {"pseudo_labels": counts | {"dsc": _label_dsc(task, weak)}}
    for split in ("validation", "test"):
        volumes = {index: read_volume(path) for index, path in images[split].items()}
        figures[split] = _measure(task, split, volumes, segmenter, runs, split == "test")
    figures["seconds"] = time.time() - started
    temporary = result.with_suffix(".partial")
    temporary.write_text(json.dumps(figures), encoding="utf-8")
    temporary.replace(result)
    return figures


def _counts(plan: WeakPlan) -> dict[str, int]:
    return {"train": plan.train, "validation": plan.validation, "test": plan.test}


def _write_images(folder: Path, task: PhantomTask, split: str, count: int) -> dict[int, Path]:
    """Write the images of a split as files, by their index."""
    paths = {}
    (folder / split).mkdir(parents=True, exist_ok=True)
    for index in range(OFFSET, OFFSET + count):
        paths[index] = folder / split / f"case_{index}.png"
        if not paths[index].is_file():
            sitk.WriteImage(sitk.GetImageFromArray(task.phantom(split, index).image), str(paths[index]))
    return paths


def _export(task: PhantomTask, images: dict[int, Path], segmenter, out: Path) -> dict[str, int]:
    from ..export.cases import find_cases
    from ..export.engines import LocalEngine
    from ..export.export import export

    cases = find_cases(next(iter(images.values())).parent, {"target": task.prompt})
    return export(cases, LocalEngine(segmenter), out)


def _true_dataset(task: PhantomTask, images: dict[int, Path], out: Path) -> None:
    """Write the same images with their true masks."""
    from ..export.dataset import write_case, write_description
    from ..volumes import Segment, read_volume

    if (out / "dataset.json").is_file():
        return
    for index, path in images.items():
        truth = task.truth(task.phantom("train", index))
        write_case(out, f"case_{index}", "nnunet", read_volume(path), [Segment("target", truth[None])])
    write_description(out, "nnunet", ["target"], [f"case_{index}" for index in images], "image")


def _label_dsc(task: PhantomTask, dataset: Path) -> float:
    """How good the pseudo-labels are that went into training."""
    values = []
    for path in sorted((dataset / "labelsTr").glob("case_*.nii.gz")):
        index = int(path.name.split(".")[0].removeprefix("case_"))
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0] > 0
        values.append(dsc(mask, task.truth(task.phantom("train", index))))
    return float(np.mean(values))


def _measure(task: PhantomTask, split: str, volumes: dict, segmenter, runs: dict[str, Path], everything: bool) -> dict:
    """DSC and NSD by case of each row (of the weak one alone unless `everything`), and the orders of review."""
    from ..nnunet.ensemble import Ensemble
    from ..nnunet.uncertainty import entropy_share, expected_loss

    truths = {index: task.truth(task.phantom(split, index)) for index in volumes}
    masks: dict[str, dict[int, np.ndarray]] = {}
    orders: dict[str, list[float]] = {name: [] for name in ORDERS}
    ensemble = Ensemble(runs["weak"], "cpu")
    masks["weak"] = {}
    for index, volume in volumes.items():
        made = ensemble.predict(volume)
        masks["weak"][index] = made.labels[0] > 0
        for score in (expected_loss, entropy_share):
            orders[score.__name__].append(score(made.probabilities, made.labels > 0))
    if everything:
        last, full = Ensemble(runs["weak"], "cpu", last=1), Ensemble(runs["full"], "cpu")
        masks["last"] = {index: last.predict(volume).labels[0] > 0 for index, volume in volumes.items()}
        masks["full"] = {index: full.predict(volume).labels[0] > 0 for index, volume in volumes.items()}
        masks["zero_shot"] = {}
        for index in volumes:
            segmenter.set_image(to_rgb(task.phantom(split, index)))
            masks["zero_shot"][index] = segmenter.segment(task.prompt).mask
    return {
        row: {
            "dsc": [dsc(mask, truths[index]) for index, mask in by_index.items()],
            "nsd": [nsd(mask, truths[index], (1.0, 1.0), NSD_TOLERANCE) for index, mask in by_index.items()],
        }
        for row, by_index in masks.items()
    } | {"orders": orders}


def quick(plan: WeakPlan = WeakPlan()) -> WeakPlan:
    """Return settings for a trial of the trial: a minute or two, figures without meaning."""
    schedule = Schedule(cycles=2, epochs=2, keep=1, iterations=4, validations=1)
    training = replace(plan.training, schedule=schedule, batch=4, width=4)
    return replace(plan, train=8, validation=2, test=3, training=training, tasks=plan.tasks[-1:])
