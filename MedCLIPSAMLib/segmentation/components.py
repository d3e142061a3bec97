"""Choose which connected components of a coarse mask are kept.

They are chosen by confidence (the paper, arXiv 2409.19483, section 3.3), or by area and number (the authors' code).
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import ndimage
from skimage.measure import label

from ..choices import ComponentRule
from ..validated import Choice, Share, settings_class
from .coarse import CoarseSettings, cut_level
from .saliency_map import SaliencyMap

SIDE = 256
"""Number of samples along each side of an image in which the threshold and the components are found."""


@settings_class
class ComponentSettings:
    """Settings of which components are kept.

    Args:
        keep: "confidence" keeps the components whose mean saliency is at least `confidence` times that of the best one;
            "area" keeps the `number` largest.
        confidence: 0 to 1, relative to the best component, so that a map of low values keeps its best component.
        number: number of components for "area": 1, or 2 for lungs.
        min_area: components smaller than this share of the image are dropped.
    """

    keep: Choice[ComponentRule] = ComponentRule.CONFIDENCE
    confidence: Share = 0.75
    number: Annotated[int, Field(ge=1)] = 1
    min_area: Annotated[float, Field(ge=0, lt=1)] = 0.001


def label_map_components(saliency: SaliencyMap, cut: CoarseSettings, settings: ComponentSettings) -> np.ndarray:
    """Threshold a map and label the components to keep: (H, W) int, as from `components`.

    The threshold and the components are found on a sample of the pixels, with several samples per patch. The outlines
    are found on all pixels around each component.

    Args:
        cut: settings with one of the methods in `coarse.LEVELS`.
    """
    labels = np.zeros(saliency.shape, np.int32)
    if saliency.is_constant:
        return labels
    sample = saliency.sample(SIDE)
    level = cut_level(sample, cut)
    salient = sample > level
    found = components(salient, sample, settings)
    number = 0
    for index in range(1, int(found.max()) + 1):
        own = found == index
        window, nearest = zip(*map(_window_around, bounds(own), sample.shape, saliency.shape))
        inside = saliency.at(*window) > level
        if (salient & ~own)[nearest[0][0] : nearest[0][-1] + 1, nearest[1][0] : nearest[1][-1] + 1].any():
            own = ndimage.binary_dilation(own, np.ones((3, 3))) & (own | ~salient)
            inside &= own[nearest[0]][:, nearest[1]]
        number += bool(inside.any())  # no pixel is inside if a peak lies between pixels
        np.copyto(labels[window], number, where=inside)
    return labels


def _window_around(extent: slice, samples: int, pixels: int) -> tuple[slice, np.ndarray]:
    """Find the pixels that a range of samples along a side spans, with a margin of one sample at either end.

    Returns:
        The pixels, and the number of the sample nearest to each.
    """
    first, last = max(extent.start - 1, 0), min(extent.stop + 1, samples)
    window = slice(first * pixels // samples, -(-last * pixels // samples))
    return window, np.arange(window.start, window.stop) * samples // pixels


def components(mask: np.ndarray, saliency: np.ndarray, settings: ComponentSettings) -> np.ndarray:
    """Label the components of `mask`, (H, W) bool, that are kept: (H, W) int, 0 outside and 1, 2, ... from the best.

    An empty mask stays empty, which means "nothing found".

    Args:
        saliency: (H, W) float; the confidence of a component is its mean saliency.
    """
    labels = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labels
    part = bounds(mask)
    found = label(mask[part], connectivity=2)
    areas = np.bincount(found.ravel())
    large = [index for index in range(1, len(areas)) if areas[index] >= settings.min_area * mask.size]
    if settings.keep == ComponentRule.AREA:
        best = sorted(large, key=lambda index: areas[index], reverse=True)[: settings.number]
    elif len(large) < 2:
        best = large
    else:
        confidence = np.bincount(found.ravel(), saliency[part].ravel()) / np.maximum(areas, 1)
        large.sort(key=lambda index: confidence[index], reverse=True)
        best = [index for index in large if confidence[index] >= settings.confidence * confidence[large[0]]]
    ranks = np.zeros(len(areas), np.int32)
    ranks[best] = np.arange(1, len(best) + 1)
    labels[part] = ranks[found]
    return labels


def bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """Find the rows and columns that a mask, (H, W) bool and not empty, spans."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
