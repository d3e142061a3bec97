"""Which connected components of a coarse mask are kept.

By confidence (the paper, arXiv 2409.19483, section 3.3) or by area and number (the authors' code).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.measure import label

from ..choices import ComponentRule, parse_choice
from ..errors import InputError


@dataclass(frozen=True)
class ComponentSettings:
    """What is kept.

    Args:
        keep: "confidence" keeps the components whose mean saliency is at least `confidence` times that of the best one;
            "area" keeps the `number` largest.
        confidence: 0 to 1, relative to the best component, so that a map of low values keeps its best.
        number: for "area": 1, or 2 for lungs.
        least_area: components below this share of the picture are dropped.
    """

    keep: ComponentRule = ComponentRule.CONFIDENCE
    confidence: float = 0.75
    number: int = 1
    least_area: float = 0.001

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", parse_choice(ComponentRule, self.keep, "rule to keep components by"))
        if not (0 <= self.confidence <= 1 and 0 <= self.least_area < 1 and self.number >= 1):
            raise InputError(
                f"Components: confidence {self.confidence}, number {self.number}, least area {self.least_area} came.",
                "Confidence and least area lie between 0 and 1, the number is at least 1.",
            )


def components(mask: np.ndarray, saliency: np.ndarray, settings: ComponentSettings) -> np.ndarray:
    """The kept components of `mask`, (H, W) bool: (H, W) int, 0 outside and 1, 2, ... from the best to the least.

    An empty mask stays empty: it means "nothing found".

    Args:
        saliency: (H, W) float, for the confidence of a component, its mean saliency.
    """
    kept = np.zeros(mask.shape, int)
    if not mask.any():
        return kept
    part = bounds(mask)
    found = label(mask[part], connectivity=2)
    areas = np.bincount(found.ravel())
    confidence = np.bincount(found.ravel(), saliency[part].ravel()) / np.maximum(areas, 1)
    large = [index for index in range(1, len(areas)) if areas[index] >= settings.least_area * mask.size]
    if settings.keep == ComponentRule.AREA:
        best = sorted(large, key=lambda index: areas[index], reverse=True)[: settings.number]
    else:
        large.sort(key=lambda index: confidence[index], reverse=True)
        best = [index for index in large if confidence[index] >= settings.confidence * confidence[large[0]]]
    ranks = np.zeros(len(areas), int)
    ranks[best] = np.arange(1, len(best) + 1)
    kept[part] = ranks[found]
    return kept


def bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that a mask, (H, W) bool and not empty, reaches over."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
