"""The paper's claim for DHN-NCE, on phantoms: does fine-tuning with it make the demo CLIP retrieve and segment better?

Each loss fine-tunes the shipped demo CLIP on the same new phantoms, whose captions have several statements, for the
same number of steps with the same batches. The temperature of each is the one with the best retrieval on validation
pairs in a small search with the first seed. Retrieval of pairs and zero-shot DSC are measured on the test split, on
which nothing was chosen. A seed sets the order and the crops, the same for every loss, so that losses can be compared
seed by seed.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ..choices import Loss, TrainingPrecision
from ..errors import require_extra
from ..finetune.captions import Pair
from ..finetune.settings import FineTuneSettings
from ..run_context import RunContext
from .processes import process_pool

if TYPE_CHECKING:
    from ..finetune.batches import PairSource

LOSSES = ("info-nce", "dcl", "hn-nce", "dhn-nce")
TEMPERATURES = (0.03, 0.07, 0.2, 0.6)
BASE = "base model"
OFFSET = 200_000
"""Index of the first phantom of each split, far from those of the demo models' training and benchmarks."""


@dataclass(frozen=True)
class FineTunePlan:
    """The size of the experiment.

    Args:
        pairs, validation, test: number of image-caption pairs for training, validation and test.
        epochs: passes over the training pairs, in batches of 64.
        learning_rate: the same for every loss.
        cases: phantoms per task to measure DSC on.
        seeds: seeds of the training.
        temperatures: the temperatures to search.
    """

    pairs: int = 1536
    validation: int = 400
    test: int = 1000
    epochs: int = 4
    learning_rate: float = 1e-4
    cases: int = 30
    seeds: tuple[int, ...] = (1, 2, 3)
    temperatures: tuple[float, ...] = TEMPERATURES


def reproduce(
    plan: FineTunePlan = FineTunePlan(),
    processes: int = 2,
    context: RunContext = RunContext(),
) -> dict:
    """Run the experiment with one core per training and `processes` trainings in parallel.

    Returns:
        {"plan", "search": {loss: {temperature: validation top-1}}, "rows": {loss or BASE: {"temperature", "seeds":
        [{"top1", "image_to_text", "text_to_image", "coarse_dsc", "dsc", "by_task", "step"}]}}}. Values are from 0 to 1;
        "step" is the step of the weights with the best retrieval on validation pairs.
    """
    require_extra("finetune", "Fine-tuning")
    with (
        TemporaryDirectory() as folder,
        process_pool(processes) as pool,
    ):
        _make_data(plan, Path(folder), pool, context)
        make = lambda number, loss, temperature, seed: pool.submit(
            _train, plan, loss, temperature, seed, Path(folder), str(number)
        )
        tried = [(loss, temperature) for loss in LOSSES for temperature in plan.temperatures]
        running = [make(number, *variant, plan.seeds[0]) for number, variant in enumerate(tried)]
        search: dict[str, dict[float, float]] = {loss: {} for loss in LOSSES}
        first = {}
        for number, ((loss, temperature), result) in enumerate(zip(tried, running)):
            first[loss, temperature], search[loss][temperature] = result.result()
            context.report(number + 1, len(tried), "temperatures")
        best = {loss: max(by_temperature, key=by_temperature.__getitem__) for loss, by_temperature in search.items()}
        others = [(loss, seed) for loss in LOSSES for seed in plan.seeds[1:]]
        running = [make(f"seed{n}", loss, best[loss], seed) for n, (loss, seed) in enumerate(others)]
        chosen = {(loss, plan.seeds[0]): first[loss, best[loss]] for loss in LOSSES}
        for number, (variant, result) in enumerate(zip(others, running)):
            chosen[variant] = result.result()[0]
            context.report(number + 1, len(others), "seeds")
        names = [(BASE, 0), *((loss, seed) for loss in LOSSES for seed in plan.seeds)]
        measuring = [pool.submit(_measure, plan, chosen.get(variant), Path(folder)) for variant in names]
        rows: dict[str, dict] = {}
        for number, ((loss, _seed), measured) in enumerate(zip(names, measuring)):
            rows.setdefault(loss, {"temperature": best.get(loss), "seeds": []})["seeds"].append(measured.result())
            context.report(number + 1, len(names), "measuring")
    return {"plan": asdict(plan) | {"losses": LOSSES}, "search": search, "rows": rows}


def draw_described_phantom(split: str, index: int) -> tuple[np.ndarray, str]:
    """Draw a new phantom, (SIZE, SIZE, 3) uint8, with a caption of three true statements."""
    from ..phantoms.captions import all_texts
    from ..phantoms.dataset import make_phantom
    from .phantom_benchmark import to_rgb

    phantom, rng = make_phantom(split, OFFSET + index), np.random.default_rng([77, index])
    true = [text.text for text in all_texts() if len(text.text.split()) < 9 and text.region(phantom) is not None]
    return to_rgb(phantom), ", ".join(rng.choice(true, min(3, len(true)), replace=False))


def _make_data(plan: FineTunePlan, folder: Path, pool: ProcessPoolExecutor, context: RunContext) -> None:
    counts = {"train": plan.pairs, "validation": plan.validation, "test": plan.test}
    for number, (split, count) in enumerate(counts.items()):
        made = list(pool.map(partial(draw_described_phantom, split), range(count), chunksize=16))
        np.savez(
            folder / f"{split}.npz", images=np.stack([pair[0] for pair in made]), captions=[pair[1] for pair in made]
        )
        context.report(number + 1, len(counts), "phantoms")


def _source(folder: Path, split: str, size: int, batch: int, crop: float = 1.0, seed: int = 12) -> PairSource:
    from ..finetune.batches import PairSource

    with np.load(folder / f"{split}.npz", allow_pickle=False) as data:
        images, captions = data["images"], data["captions"].tolist()
    pairs = [Pair(Path(str(number)), caption, str(number)) for number, caption in enumerate(captions)]
    return PairSource(pairs, size, batch, crop, seed, read=lambda path: images[int(path.name)])


def _train(plan: FineTunePlan, loss: str, temperature: float, seed: int, folder: Path, name: str) -> tuple[Path, float]:
    """Train a model; return its weights file and top-1 retrieval on validation pairs."""
    from ..finetune.retrieval import top1
    from ..finetune.train import fine_tune

    settings = FineTuneSettings(
        base="demo",
        loss=Loss(loss),
        temperature=temperature,
        epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        patience=0,
        precision=TrainingPrecision.FULL,
        seed=seed,
    )
    training = lambda size, rank, world: _source(folder, "train", size, settings.batch, settings.min_crop, seed)
    validation = lambda size: _source(folder, "validation", size, 50)
    result = fine_tune(training, validation, settings, folder / name, "cpu")
    return result.weights, top1(result.after)


def _measure(plan: FineTunePlan, weights: Path | None, folder: Path) -> dict:
    """Measure retrieval and zero-shot DSC on the test split; `weights` None measures the shipped model."""
    import torch
    from safetensors.torch import load_file

    from ..evaluation.metrics import dsc
    from ..finetune.retrieval import retrieval, top1
    from ..finetune.train import DONE
    from ..segmentation.segmenter import load_segmenter
    from .phantom_benchmark import TASKS, to_rgb

    segmenter = load_segmenter("demo", "demo", "cpu")
    clip = segmenter.clip
    step = 0
    if weights is not None:
        clip.model.load_state_dict(load_file(weights))
        step = json.loads((weights.parent / DONE).read_text(encoding="utf-8"))["step"]
    images, texts, captions = [], [], []
    for batch, all_captions in _source(folder, "test", clip.image_size, 50).batches(0):
        images.append(clip.encode_image(clip.preprocess(batch.numpy())))
        texts.append(clip.encode_text(all_captions))
        captions += all_captions
    figures = retrieval(torch.cat(images), torch.cat(texts), captions)
    by_task = {}
    for name, task in TASKS.items():
        scores = []
        for index in range(plan.cases):
            phantom = task.phantom("test", OFFSET + index)
            segmenter.set_image(to_rgb(phantom))
            result, truth = segmenter.segment(task.prompt), task.truth(phantom)
            scores.append((dsc(result.coarse, truth), dsc(result.mask, truth)))
        by_task[name] = tuple(np.mean(scores, 0).tolist())
    coarse, mask = np.mean(list(by_task.values()), 0).tolist()
    ways = {way: figures[way]["top1"]["mean"] for way in ("image_to_text", "text_to_image")}
    return {"top1": top1(figures), **ways, "coarse_dsc": coarse, "dsc": mask, "by_task": by_task, "step": step}


def quick(plan: FineTunePlan = FineTunePlan()) -> FineTunePlan:
    """Return a plan for a trial run that takes seconds; its figures mean nothing."""
    small = {"pairs": 64, "validation": 50, "test": 50, "epochs": 1, "cases": 1}
    return replace(plan, **small, seeds=plan.seeds[:2], temperatures=plan.temperatures[:2])
