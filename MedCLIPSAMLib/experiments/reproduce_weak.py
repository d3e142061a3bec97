"""The paper's weakly supervised stage, tried: pseudo-labels by text, a nnU-Net trained on them, its review.

For each task of phantoms, or for a set of real images (`weak_cases`): the zero-shot masks of the training images become
a dataset, by the same export that users have. nnU-Net is trained on it, and on the true masks of the same images (full
supervision). Compared on test images: zero-shot, the last checkpoint of the training on pseudo-labels (a plain
nnU-Net), the ensemble of its checkpoints (weak), and the ensemble of full supervision. Then a person who corrects the
least sure cases is imagined, beside one who takes them at random and one who knows the worst.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from PIL import Image

from ..evaluation.compare import compare_paired, error_after_review
from ..evaluation.metrics import dsc, nsd
from ..files.atomic import atomic_path
from ..nnunet.ensemble import Prediction
from ..nnunet.schedule import Schedule
from ..nnunet.train import SHORT, TrainSettings
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from .prompted import NSD_TOLERANCE, TruthImage
from .real import mean_interval
from .weak_cases import PhantomCases, RealCases, WeakCases, shrink

COLUMNS = {"us_tumour": "US", "mri_tumour": "MRI", "xray_lungs": "X-ray", "ct_lungs": "CT"}
"""Our tasks of phantoms that stand for the paper's four data sets, and what those are called."""

ROWS = {
    "zero_shot": "zero-shot",
    "last": "nnU-Net on pseudo-labels, last checkpoint",
    "weak": "weak: ensemble of checkpoints",
    "full": "full supervision: ensemble",
}
SHARES = (0.05, 0.10, 0.20)
ORDERS = ("expected_loss", "entropy_share")


@dataclass(frozen=True)
class WeakPlan:
    """How large the trial is.

    Args:
        train, validation, test: images a task, at most; the order of review is chosen on validation.
        training: of every network.
        tasks: of `COLUMNS`, or the folder of a set of real images.
        longest: pixels of the longer side to which images are shrunk for nnU-Net. All else, and what is measured, is
            of their own size.
    """

    train: int = 120
    validation: int = 40
    test: int = 100
    training: TrainSettings = field(
        default_factory=lambda: replace(SHORT, schedule=replace(SHORT.schedule, iterations=50))
    )
    tasks: tuple[str, ...] = tuple(COLUMNS)
    longest: int | None = None

    def cases(self, task: str) -> WeakCases:
        """Find the images of a task."""
        return PhantomCases(task) if task in COLUMNS else RealCases(Path(task))


def real_plan(folder: Path) -> WeakPlan:
    """Plan a trial on a set of real images, of under an hour on two cores."""
    training = replace(SHORT, schedule=replace(SHORT.schedule, iterations=25))
    return WeakPlan(training=training, tasks=(str(folder),), longest=128)


def reproduce(
    plan: WeakPlan = WeakPlan(),
    processes: int = 2,
    work: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Run the trial, a task on a core, `processes` of them side by side; one task trains its networks side by side.

    Args:
        work: folder of the datasets and trainings, to go on from; a temporary one by default.
        context: notified as tasks are done.

    Returns:
        {"plan", "tasks": {task: {"cases": {split: number}, "pseudo_labels": {...}, "validation", "test": {row: {"dsc",
        "nsd"}: values by case}, "orders": {order: values by case}}, "seconds"}}}.
    """
    with TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _one_thread) as pool:
            trainings = 2 if processes > len(plan.tasks) else 1
            running = {pool.submit(_task, task, plan, folder, trainings): _name(task) for task in plan.tasks}
            tasks = {}
            for done in as_completed(running):
                name = running[done]
                tasks[name] = done.result()
                context.notify(f"{name}: {tasks[name]['seconds'] / 60:.0f} min")
    names = tuple(map(_name, plan.tasks))
    return {"plan": asdict(replace(plan, tasks=names)), "tasks": {name: tasks[name] for name in names}}


def _name(task: str) -> str:
    return Path(task).name


def summary(figures: dict) -> dict:
    """Summarize what is printed: means a row and task, the pooled differences, and the error left after review.

    Returns:
        {"rows": {row: {metric: {task: mean, "all": mean}}}, "intervals": {row: {metric: {task: [low, high]}}},
        "differences": {"weak - zero_shot": PairedDifference as dict, ...}, "validation_review", "review": {order:
        {share: mean error}}}, the orders, "random" and "worst first" among them.
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
    intervals = {
        row: {
            metric: {name: mean_interval(np.array(task["test"][row][metric])) for name, task in tasks.items()}
            for metric in ("dsc", "nsd")
        }
        for row in ROWS
    }
    return {
        "rows": rows,
        "intervals": intervals,
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


def _task(task: str, plan: WeakPlan, folder: Path, trainings: int) -> dict:
    """Do a task from the images to the figures, with so many trainings at once; read its file if it was done before."""
    name = _name(task)
    result = folder / f"{name}.json"
    if result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    from ..nnunet.train import train
    from ..segmentation.segmenter import load_segmenter

    started, source = time.time(), plan.cases(task)
    number = plan.tasks.index(task)
    counts = {"train": plan.train, "validation": plan.validation, "test": plan.test}
    cases = {split: source.load(split, count) for split, count in counts.items()}
    here = folder / name
    _write_images(here / "train", cases["train"])
    segmenter = load_segmenter(source.models, source.models, "cpu")
    found = _export(source.prompt, here / "train", segmenter, here / f"Dataset{500 + number}_Export")
    labels = _labels(here / f"Dataset{500 + number}_Export", cases["train"])
    guessed = [replace(case, truth=labels[case.name]) for case in cases["train"] if case.name in labels]
    weak, full = here / f"Dataset{600 + number}_Weak", here / f"Dataset{700 + number}_Full"
    for dataset, some in ((weak, guessed), (full, cases["train"])):
        _write_dataset(dataset, [shrink(case, plan.longest) for case in some], here)
    runs = {"weak": here / "weak-run", "full": here / "full-run"}
    with ThreadPoolExecutor(trainings) as pool:
        for done in [
            pool.submit(train, data, runs[kind], plan.training) for kind, data in (("weak", weak), ("full", full))
        ]:
            done.result()
    truths = {case.name: case.truth for case in cases["train"]}
    quality = float(np.mean([dsc(mask, truths[of]) for of, mask in labels.items()]))
    figures: dict[str, Any] = {
        "cases": {split: len(some) for split, some in cases.items()},
        "pseudo_labels": found | {"dsc": quality},
    }
    for split in ("validation", "test"):
        everything = segmenter if split == "test" else None
        figures[split] = _measure(source.prompt, here / f"{split}-nnunet", cases[split], plan.longest, runs, everything)
    figures["seconds"] = time.time() - started
    with atomic_path(result) as temporary:
        temporary.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def _write_images(folder: Path, cases: Sequence[TruthImage]) -> None:
    """Write the images of a split as gray files."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if not _image(folder, case).is_file():
            sitk.WriteImage(sitk.GetImageFromArray(case.image[..., 0]), str(_image(folder, case)))


def _image(folder: Path, case: TruthImage) -> Path:
    return folder / f"{case.name}.png"


def _export(prompt: str, images: Path, segmenter: TextSegmenter, out: Path) -> dict[str, int]:
    from ..export.cases import find_cases
    from ..export.engines import LocalEngine
    from ..export.export import export

    return export(find_cases(images, {"target": prompt}), LocalEngine(segmenter), out)


def _labels(dataset: Path, cases: Sequence[TruthImage]) -> dict[str, np.ndarray]:
    """Read the masks of an export, (H, W) bool, by the name of the case; without those in which nothing was found."""
    files = {case.name: dataset / "labelsTr" / f"{case.name}.nii.gz" for case in cases}
    return {
        name: sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0] > 0 for name, path in files.items() if path.is_file()
    }


def _write_dataset(out: Path, cases: Sequence[TruthImage], folder: Path) -> None:
    """Write images with their masks as nnU-Net reads them, by way of image files in a folder of `folder`."""
    from ..export.dataset import write_case, write_description
    from ..volumes import Segment, read_volume

    if (out / "dataset.json").is_file():
        return
    images = folder / "train-nnunet"
    _write_images(images, cases)
    for case in cases:
        write_case(out, case.name, "nnunet", read_volume(_image(images, case)), [Segment("target", case.truth[None])])
    write_description(out, "nnunet", ["target"], [case.name for case in cases], "image")


def _measure(
    prompt: str,
    images: Path,
    cases: Sequence[TruthImage],
    longest: int | None,
    runs: dict[str, Path],
    segmenter: TextSegmenter | None,
) -> dict:
    """Compute DSC and NSD by case of each row (the weak one alone without a segmenter), and the orders of review.

    Args:
        images: folder for the files that nnU-Net gets.
    """
    from ..nnunet.ensemble import Ensemble
    from ..nnunet.uncertainty import entropy_share, expected_loss
    from ..volumes import read_volume

    _write_images(images, [shrink(case, longest) for case in cases])
    volumes = [read_volume(_image(images, case)) for case in cases]
    orders: dict[str, list[float]] = {name: [] for name in ORDERS}
    ensemble = Ensemble(runs["weak"], "cpu")
    masks: dict[str, list[np.ndarray]] = {"weak": []}
    for volume, case in zip(volumes, cases):
        made = ensemble.predict(volume)
        masks["weak"].append(_mask(made, case))
        for score in (expected_loss, entropy_share):
            orders[score.__name__].append(score(made.probabilities, made.labels > 0))
    if segmenter:
        last, full = Ensemble(runs["weak"], "cpu", last=1), Ensemble(runs["full"], "cpu")
        masks["last"] = [_mask(last.predict(volume), case) for volume, case in zip(volumes, cases)]
        masks["full"] = [_mask(full.predict(volume), case) for volume, case in zip(volumes, cases)]
        masks["zero_shot"] = []
        for case in cases:
            segmenter.set_image(case.image)
            masks["zero_shot"].append(segmenter.segment(prompt).mask)
    return {
        row: {
            "dsc": [dsc(mask, case.truth) for mask, case in zip(made, cases)],
            "nsd": [nsd(mask, case.truth, (1.0, 1.0), NSD_TOLERANCE) for mask, case in zip(made, cases)],
        }
        for row, made in masks.items()
    } | {"orders": orders}


def _mask(made: Prediction, case: TruthImage) -> np.ndarray:
    """Bring the probability of the target back to the size of a case, and take what is more probable than not."""
    height, width = case.truth.shape
    probability = Image.fromarray(made.probabilities[1, 0])
    return np.asarray(probability.resize((width, height), Image.Resampling.BILINEAR)) > 0.5


def quick(plan: WeakPlan = WeakPlan()) -> WeakPlan:
    """Return settings for a trial of the trial: a minute or two, figures without meaning."""
    schedule = Schedule(cycles=2, epochs=2, keep=1, iterations=4, validations=1)
    training = replace(plan.training, schedule=schedule, batch=4, width=4)
    return replace(plan, train=8, validation=2, test=3, training=training, tasks=plan.tasks[-1:])
