"""The text pipeline on sets of real pictures, beside controls, with intervals; and on pictures without a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from ..errors import InputError
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from ..starter.data_set import UnusableImageError
from .phantom_benchmark import lesion_free_pictures
from .prompted import CONTROLS, Measured, TruthPicture, empty_share, measure_prompt
from .real_sets import REAL_SETS, RealCase, choose_cases, evenly
from .tumor_free import tumor_free_part

SPLITS = ("validation", "test")
FIGURES = ("dsc", "nsd", "coarse_dsc", "presence", "sam_true_box_dsc", "sam_loose_box_dsc")
RESAMPLES, SEED = 2000, 12
"""Of the bootstrap."""


@dataclass(frozen=True)
class RealBenchmark:
    """What was measured.

    Args:
        figures: as JSON values, see `benchmark_real`.
        measured: every picture, by set.
    """

    figures: dict[str, Any]
    measured: dict[str, list[Measured]]


def benchmark_real(
    segmenter: TextSegmenter,
    data: Path,
    split: str = "test",
    cases: int = 60,
    sets: Sequence[str] = tuple(REAL_SETS),
    context: RunContext = RunContext(),
) -> RealBenchmark:
    """Measure the sets of a folder, and pictures without a target beside them.

    Its figures are {"sets": {name: {"cases", `FIGURES`, "intervals": {...}, "empty", "seconds", "skipped", "controls":
    {...}}}, "tumor_free": {"cases", "empty_fraction", "by_kind": {...}}}: means over the cases, 0 to 1, where nothing
    found counts as 0; `intervals` are those of 95 % of the means; "empty" counts the cases in which nothing was found;
    "skipped" names the pictures that cannot be decoded, and those whose mask is black or of another size.

    Args:
        data: holds a folder for each set; see `real_sets`.
        cases: most pictures a set.

    Raises:
        InputError: an unknown set or split, or data that is not as it should be.
    """
    if split not in SPLITS:
        raise InputError(f"Expected a split of {', '.join(SPLITS)}, got '{split}'.")
    unknown = [name for name in sets if name not in REAL_SETS]
    if unknown or not sets:
        raise InputError(f"Expected sets of {', '.join(REAL_SETS)}, got {', '.join(unknown) or 'none'}.")
    chosen = {name: choose_cases(data, name, split, cases) for name in dict.fromkeys(sets)}
    by_set, free, measured = {}, {}, {}
    for name, some in chosen.items():
        real = REAL_SETS[name]
        pictures, skipped = load_pictures(some)
        if not pictures:
            raise InputError(f"Expected pictures of '{name}' that can be used, got none of {len(some)}.")
        for each in skipped:
            context.notify(f"Left out: '{each}' of {name} cannot be decoded, or its mask is black or of another size.")
        measured[name] = measure_prompt(segmenter, real.prompt, pictures, context.titled(name))
        by_set[name] = set_figures(measured[name]) | {"skipped": skipped}
        for kind, without in without_target(name, data, split, cases).items():
            share = empty_share(segmenter, real.prompt, without, context.titled(name))
            free[kind] = {"cases": len(without), "empty_fraction": share}
    return RealBenchmark({"sets": by_set, "tumor_free": _pooled(free)}, measured)


def load_pictures(cases: Sequence[RealCase]) -> tuple[list[TruthPicture], list[str]]:
    """Load some cases; also return the names of those that cannot be used, see `RealCase.load`."""
    pictures, skipped = [], []
    for case in cases:
        try:
            pictures.append(TruthPicture(case.name, *case.load()))
        except UnusableImageError:
            skipped.append(case.name)
    return pictures, skipped


def without_target(name: str, data: Path, split: str, cases: int) -> dict[str, list[np.ndarray]]:
    """Pictures by kind that do not show what the prompt of a set names: parts of its own, and lesion-free phantoms."""
    real = REAL_SETS[name]
    found = {}
    if real.crops:
        loaded, _ = load_pictures(choose_cases(data, name, split, 2 * cases))
        parts = [tumor_free_part(Path(each.name).stem, each.picture, each.truth) for each in loaded]
        found[f"{name} beside the tumor"] = evenly([part for part in parts if part is not None], cases)
    if real.lesion_free:
        found[f"{real.lesion_free} phantoms"] = lesion_free_pictures(real.lesion_free, split, cases)
    return {kind: pictures for kind, pictures in found.items() if pictures}


def set_figures(measured: Sequence[Measured]) -> dict[str, Any]:
    """Average the figures of a set, as JSON values, without what was skipped."""
    values = {name: np.array([each.scores[name] for each in measured]) for name in (*FIGURES, *CONTROLS)}
    means = {name: float(each.mean()) for name, each in values.items()}
    return {
        "cases": len(measured),
        **{name: means[name] for name in FIGURES},
        "intervals": {name: mean_interval(each) for name, each in values.items()},
        "empty": sum(not each.result.found for each in measured),
        "seconds": float(np.mean([each.seconds for each in measured])),
        "controls": {name: means[name] for name in CONTROLS},
    }


def mean_interval(values: np.ndarray) -> list[float]:
    """Compute the 95 % interval of a mean by the bootstrap (percentiles of 2000 resamples).

    Where all values are equal there is nothing to resample, and both ends are the mean.
    """
    if np.ptp(values) == 0:
        return [float(values[0])] * 2
    found = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", random_state=np.random.default_rng(SEED)
    )
    return [float(found.confidence_interval.low), float(found.confidence_interval.high)]


def _pooled(free: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    total = sum(each["cases"] for each in free.values())
    empty = sum(each["cases"] * each["empty_fraction"] for each in free.values())
    return {"cases": total, "empty_fraction": empty / total if total else None, "by_kind": dict(free)}


def sheet_rows(measured: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    """Pick the worst, the median and the best case of each set, for `evaluation.pictures.contact_sheet`."""
    rows = []
    for name, cases in measured.items():
        ordered = sorted(cases, key=lambda each: each.scores["dsc"])
        picked = {"worst": ordered[0], "median": ordered[len(ordered) // 2], "best": ordered[-1]}
        for which, each in picked.items():
            scores, result = each.scores, each.result
            rows.append(
                {
                    "title": f"{name}, {which}: {each.case.name}",
                    "caption": f"DSC {scores['coarse_dsc']:.2f} coarse, {scores['dsc']:.2f} final, "
                    f"presence {scores['presence']:.2f}",
                    "picture": each.case.picture,
                    "saliency": result.where.saliency,
                    "boxes": result.sam_prompts.boxes,
                    "coarse": result.coarse,
                    "mask": result.mask,
                    "truth": each.case.truth,
                }
            )
    return rows
