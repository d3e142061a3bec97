"""The text pipeline on sets of real images, with controls and intervals, and on images without a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..run_context import RunContext
from ..segmentation.segmenter import TextSegmenter
from ..starter.data_set import UnusableImageError
from .phantom_benchmark import make_lesion_free_images
from .prompted import ImageSet, Measured, TruthImage, check_split, measure_empty_share, measure_prompt, set_figures
from .real_sets import REAL_SETS, RealCase, choose_cases, evenly
from .tumor_free import tumor_free_part


@dataclass(frozen=True)
class RealBenchmark:
    """The measurements of `benchmark_real`.

    Args:
        figures: JSON values; see `benchmark_real`.
        measured: the result of every image, by set.
    """

    figures: dict[str, Any]
    measured: dict[str, list[Measured]]


def benchmark_real(
    segmenter: TextSegmenter,
    data: Path,
    split: str = "test",
    cases: int = 60,
    sets: Sequence[str] = (),
    context: RunContext = RunContext(),
) -> RealBenchmark:
    """Measure the sets of a folder, and images without a target.

    The figures are {"sets": {name: those of `set_figures`, and "skipped"}, "tumor_free": {"cases", "empty_fraction",
    "by_kind": {...}}}. "skipped" names the images that cannot be decoded or whose mask is black or of another size.

    Args:
        data: holds a folder for each set; see `real_sets`.
        cases: maximum number of images of each set.
        sets: names of the sets; all four if empty.

    Raises:
        InputError: see `load_sets`.
    """
    by_set, free, measured = {}, {}, {}
    for name, images in load_sets(data, split, cases, sets, context).items():
        measured[name] = measure_prompt(segmenter, images.prompt, images.images, context.titled(name))
        by_set[name] = set_figures(measured[name]) | {"skipped": images.skipped}
        for kind, without in images.without.items():
            share = measure_empty_share(segmenter, images.prompt, without, context.titled(name))
            free[kind] = {"cases": len(without), "empty_fraction": share}
    return RealBenchmark({"sets": by_set, "tumor_free": _pool(free)}, measured)


def load_sets(
    data: Path, split: str, cases: int, names: Sequence[str] = (), context: RunContext = RunContext()
) -> dict[str, ImageSet]:
    """Load sets of real images, all four if no names are given, and note the images that cannot be used.

    Raises:
        InputError: a set or the split is unknown, the data are invalid, or a set has no usable images.
    """
    check_split(split)
    unknown = [name for name in names if name not in REAL_SETS]
    if unknown:
        raise InputError(f"Expected sets among {', '.join(REAL_SETS)}, got {', '.join(unknown)}.", "Choose from these.")
    chosen = {name: choose_cases(data, name, split, cases) for name in dict.fromkeys(names or REAL_SETS)}
    sets = {}
    for name, some in chosen.items():
        images, skipped = load_images(some)
        if not images:
            raise InputError(f"Expected usable images in '{name}', but none of {len(some)} can be used.")
        for file in skipped:
            context.notify(
                f"Left out '{file}' of {name}: it cannot be decoded, or its mask is black or of another size."
            )
        sets[name] = ImageSet(REAL_SETS[name].prompt, images, skipped, _without_target(name, data, split, cases))
    return sets


def load_images(cases: Sequence[RealCase]) -> tuple[list[TruthImage], list[str]]:
    """Load cases; also return the names of the unusable ones (see `RealCase.load`)."""
    images, skipped = [], []
    for case in cases:
        try:
            images.append(TruthImage(case.name, *case.load()))
        except UnusableImageError:
            skipped.append(case.name)
    return images, skipped


def _without_target(name: str, data: Path, split: str, cases: int) -> dict[str, list[np.ndarray]]:
    """Collect images without the target of a set's prompt, by kind: parts of its images, and lesion-free phantoms."""
    real = REAL_SETS[name]
    found = {}
    if real.crops:
        loaded, _ = load_images(choose_cases(data, name, split, 2 * cases))
        parts = [tumor_free_part(Path(image.name).stem, image.image, image.truth) for image in loaded]
        found[f"{name} beside the tumor"] = evenly([part for part in parts if part is not None], cases)
    if real.lesion_free:
        found[f"{real.lesion_free} phantoms"] = make_lesion_free_images(real.lesion_free, split, cases)
    return {kind: images for kind, images in found.items() if images}


def _pool(free: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    total = sum(shares["cases"] for shares in free.values())
    empty = sum(shares["cases"] * shares["empty_fraction"] for shares in free.values())
    return {"cases": total, "empty_fraction": empty / total if total else None, "by_kind": dict(free)}


def choose_sheet_rows(measured: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    """Pick the worst, the median and the best case of each set, for `evaluation.overlays.write_contact_sheet`."""
    rows = []
    for name, cases in measured.items():
        ordered = sorted(cases, key=lambda case: case.scores["dsc"])
        picked = {"worst": ordered[0], "median": ordered[len(ordered) // 2], "best": ordered[-1]}
        for which, measurement in picked.items():
            scores, result = measurement.scores, measurement.result
            rows.append(
                {
                    "title": f"{name}, {which}: {measurement.case.name}",
                    "caption": f"DSC {scores['coarse_dsc']:.2f} coarse, {scores['dsc']:.2f} final, "
                    f"presence {scores['presence']:.2f}",
                    "image": measurement.case.image,
                    "saliency": result.where.saliency,
                    "boxes": result.sam_prompts.boxes,
                    "coarse": result.coarse,
                    "mask": result.mask,
                    "truth": measurement.case.truth,
                }
            )
    return rows
