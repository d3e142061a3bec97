"""Which pseudo-labels to leave out of an nnU-Net's training: one round of filtering, compared with controls.

With the same settings and seed, networks are trained on all pseudo-labels, and without the same fraction of them,
chosen in four ways (see `FILTERS`). Each is measured on test images. "random" shows what having fewer labels costs,
"truth" what the best choice by DSC could gain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import require_extra
from ..evaluation.metrics import dsc
from ..export.manifest import read_records
from ..files.json_text import write_json
from ..nnunet.disagreement import SHARE, lowest, measure_agreement
from ..nnunet.train import TrainSettings
from ..run_context import RunContext
from ..volumes import Volume
from .prompted import TruthImage
from .weak_data import export_labels, mask_of, read_images, with_labels, write_dataset
from .weak_plan import WeakPlan, real_plan

FILTERS = {
    "all": "all found pseudo-labels",
    "score": "without the lowest scores",
    "disagree": "without those the first network disagrees with",
    "random": "without as many at random",
    "truth": "without the truly worst (not knowable)",
}


@dataclass(frozen=True)
class FilterPlan:
    """Size of the experiment.

    Args:
        weak: the images, their number, and the training of every network; its validation images are not used.
        share: fraction of the pseudo-labels to leave out.
    """

    weak: WeakPlan
    share: float = SHARE


def make_filter_plan(data: Path | None = None) -> FilterPlan:
    """Plan an experiment on breast ultrasound phantoms, or on a set of real images, with the same training length."""
    plan = real_plan(data or Path())
    if data is None:
        plan = replace(plan, tasks=("us_tumour",), longest=None)
    return FilterPlan(replace(plan, validation=0))


def expected_quality(record: Mapping[str, Any]) -> float:
    """Score a pseudo-label by its record in the export's manifest; higher is better.

    It is the mean over the labels of presence times the IoU that SAM predicts for the mask.
    """
    return float(np.mean([label["score"] for label in record["labels"].values()]))


@dataclass(frozen=True)
class _Labeled:
    """The training images with their pseudo-labels and the quality of these, and the test images.

    Args:
        folder: folder of all files of the experiment.
        cases: the cases in which something was found, with the pseudo-label as their truth.
        score: expected quality by case.
        dsc: DSC with the real truth by case.
        test: images of test patients.
        volumes: the test images as nnU-Net reads them.
    """

    folder: Path
    cases: list[TruthImage]
    score: dict[str, float]
    dsc: dict[str, float]
    test: list[TruthImage]
    volumes: list[Volume]


def reproduce(
    plan: FilterPlan,
    seeds: Sequence[int] = (1, 2),
    work: Path | None = None,
    context: RunContext = RunContext(),
) -> dict:
    """Run the experiment: one training per filter and seed, all of one seed before the next.

    Args:
        seeds: seeds of the trainings; a later run in the same folder can add more.
        work: folder of the datasets and trainings, from which a run resumes; a temporary folder by default.
        context: notified of every training.

    Returns:
        {"plan", "set", "cases": {"train", "found", "test"}, "score", "dsc": by pseudo-label, "runs": {filter: [{"seed",
        "kept": names, "order": the filter's criterion by name, "ensemble", "last": DSC by test image, "seconds"}]}}.

    Raises:
        Cancelled: the context was cancelled.
        ModelError: nnU-Net failed.
    """
    require_extra("weak", "nnU-Net")
    with TemporaryDirectory() as temporary:
        folder = work or Path(temporary)
        labeled, figures = _label(plan, folder)
        figures["runs"] = {name: [] for name in FILTERS}
        todo = [(seed, name) for seed in seeds for name in FILTERS]
        for done, (seed, name) in enumerate(todo):
            context.raise_if_cancelled()
            context.report(done, len(todo), f"{name}, seed {seed}")
            run = _run(name, seed, labeled, plan, context)
            figures["runs"][name].append(run)
            mean = float(np.mean(run["ensemble"]))
            context.notify(f"{name}, seed {seed}: DSC {mean:.3f}, {run['seconds'] / 60:.1f} min")
    return figures


def _label(plan: FilterPlan, folder: Path) -> tuple[_Labeled, dict]:
    """Label the training images by text and load the test images; also return the first figures."""
    from ..segmentation.segmenter import load_segmenter

    weak = plan.weak
    (task,) = weak.tasks
    source = weak.cases(task)
    train, test = source.load("train", weak.train), source.load("test", weak.test)
    dataset = folder / "Dataset500_Export"
    segmenter = load_segmenter(source.models, source.models, "cpu")
    _, labels = export_labels(source.prompt, train, segmenter, folder / "train", dataset)
    records = read_records(dataset)
    quality = {case.name: dsc(labels[case.name], case.truth) for case in train if case.name in labels}
    score = {name: expected_quality(records[name]) for name in labels}
    volumes = read_images(folder / "test-nnunet", test, weak.longest)
    labeled = _Labeled(folder, with_labels(train, labels), score, quality, test, volumes)
    counts = {"train": len(train), "found": len(labels), "test": len(test)}
    name = Path(task).name
    about = {"plan": asdict(replace(plan, weak=replace(weak, tasks=(name,)))), "set": name, "cases": counts}
    return labeled, about | {"score": score, "dsc": quality}


def _run(name: str, seed: int, labeled: _Labeled, plan: FilterPlan, context: RunContext) -> dict:
    """Train and measure the network of a filter; read its file if it was done before."""
    here = _folder(labeled, name, seed)
    result = here / "figures.json"
    if result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    from ..nnunet.ensemble import Ensemble
    from ..nnunet.train import train

    started = time.time()
    order = _order(name, seed, labeled)
    dropped = set(lowest(order, plan.share))
    kept = [case for case in labeled.cases if case.name not in dropped]
    settings: TrainSettings = replace(plan.weak.training, seed=seed)
    dataset = _dataset(here)
    write_dataset(dataset, kept, labeled.folder / "train-nnunet", plan.weak.longest)
    train(dataset, here / "run", settings, context=context.without_progress())
    ensemble, last = Ensemble(here / "run", "cpu"), Ensemble(here / "run", "cpu", last=1)
    figures = {"seed": seed, "kept": [case.name for case in kept], "order": order}
    for row, network in (("ensemble", ensemble), ("last", last)):
        made = (mask_of(network.predict(volume, context), case) for volume, case in zip(labeled.volumes, labeled.test))
        figures[row] = [dsc(mask, case.truth) for mask, case in zip(made, labeled.test)]
    if name == "all":
        _predict_own(here, ensemble, context)
    figures["seconds"] = time.time() - started
    write_json(result, figures)
    return figures


def _order(name: str, seed: int, labeled: _Labeled) -> dict[str, float]:
    """Return the filter's criterion by case, lowest for those to leave out; empty for "all"."""
    if name == "all":
        return {}
    if name == "score":
        return labeled.score
    if name == "truth":
        return labeled.dsc
    if name == "random":
        values = np.random.default_rng(seed).random(len(labeled.cases))
        return {case.name: float(value) for case, value in zip(labeled.cases, values)}
    first = _folder(labeled, "all", seed)
    return {about.case: about.dsc for about in measure_agreement(first / "predictions", _dataset(first))}


def _predict_own(here: Path, ensemble: Any, context: RunContext) -> None:
    """Predict a network's own training images, as a user would for `weak disagree`."""
    from ..nnunet.predict import find_images, predict

    images, dataset = find_images(_dataset(here))
    predict(images, ensemble, here / "predictions", dataset, context.without_progress())


def _folder(labeled: _Labeled, name: str, seed: int) -> Path:
    return labeled.folder / f"{name}-{seed}"


def _dataset(folder: Path) -> Path:
    return folder / "Dataset600_Weak"
