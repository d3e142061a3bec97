"""The paper's weakly supervised stage: pseudo-labels by text, an nnU-Net trained on them, and its review.

For each phantom task, or for a set of real images (`weak_cases`), the zero-shot masks of the training images become a
dataset, by the same export that users run. nnU-Net is trained on it, and on the true masks of the same images (full
supervision). Compared on test images are: zero-shot, the last checkpoint of the training on pseudo-labels (a plain
nnU-Net), the ensemble of its checkpoints (weak), and the ensemble of full supervision. Then a review is simulated of
the least certain cases, of random ones, and of the worst ones.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import require_extra
from ..evaluation.metrics import dsc, nsd
from ..files.json_text import write_json
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from .processes import process_pool
from .prompted import NSD_TOLERANCE, TruthImage
from .weak_data import export_labels, mask_of, read_images, with_labels, write_dataset
from .weak_plan import WeakPlan

ORDERS = ("expected_loss", "entropy_share")
"""Orders of review to compare."""


def reproduce(
    plan: WeakPlan = WeakPlan(),
    processes: int = 2,
    work: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Run the experiment with one core per task.

    Args:
        processes: number of tasks to run in parallel; with more processes than tasks, a task trains its networks in
            parallel.
        work: folder of the datasets and trainings, from which a run resumes; a temporary folder by default.
        context: notified when a task is done.

    Returns:
        {"plan", "tasks": {task: {"cases": {split: number}, "pseudo_labels": {...}, "validation", "test": {row: {"dsc",
        "nsd"}: values by case}, "orders": {order: values by case}}, "seconds"}}}.
    """
    require_extra("weak", "nnU-Net")
    with TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with process_pool(processes) as pool:
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


def _task(task: str, plan: WeakPlan, folder: Path, trainings: int) -> dict:
    """Run a task from the images to the figures, with `trainings` in parallel; read its file if it was done before."""
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
    segmenter = load_segmenter(source.models, source.models, "cpu")
    export = here / f"Dataset{500 + number}_Export"
    found, labels = export_labels(source.prompt, cases["train"], segmenter, here / "train", export)
    weak, full = here / f"Dataset{600 + number}_Weak", here / f"Dataset{700 + number}_Full"
    for dataset, some in ((weak, with_labels(cases["train"], labels)), (full, cases["train"])):
        write_dataset(dataset, some, here / "train-nnunet", plan.longest)
    runs = {"weak": here / "weak-run", "full": here / "full-run"}
    stopped = threading.Event()
    run = partial(train, settings=plan.training, context=RunContext(is_cancelled=stopped.is_set))
    with ThreadPoolExecutor(trainings) as pool:
        try:
            for done in [pool.submit(run, data, runs[kind]) for kind, data in (("weak", weak), ("full", full))]:
                done.result()
        finally:
            stopped.set()
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
    write_json(result, figures)
    return figures


def _measure(
    prompt: str,
    images: Path,
    cases: Sequence[TruthImage],
    longest: int | None,
    runs: dict[str, Path],
    segmenter: TextSegmenter | None,
) -> dict:
    """Compute the DSC and NSD by case of each row, and the orders of review.

    Args:
        images: folder for nnU-Net's input files.
        segmenter: None computes only the weak row.
    """
    from ..nnunet.ensemble import Ensemble
    from ..nnunet.uncertainty import entropy_share, expected_loss

    volumes = read_images(images, cases, longest)
    orders: dict[str, list[float]] = {name: [] for name in ORDERS}
    ensemble = Ensemble(runs["weak"], "cpu")
    masks: dict[str, list[np.ndarray]] = {"weak": []}
    for volume, case in zip(volumes, cases):
        made = ensemble.predict(volume)
        masks["weak"].append(mask_of(made, case))
        for score in (expected_loss, entropy_share):
            orders[score.__name__].append(score(made.probabilities, made.labels > 0))
    if segmenter:
        last, full = Ensemble(runs["weak"], "cpu", last=1), Ensemble(runs["full"], "cpu")
        masks["last"] = [mask_of(last.predict(volume), case) for volume, case in zip(volumes, cases)]
        masks["full"] = [mask_of(full.predict(volume), case) for volume, case in zip(volumes, cases)]
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
