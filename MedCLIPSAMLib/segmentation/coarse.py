"""A coarse mask from a saliency map, by a threshold or by clustering."""

from __future__ import annotations

import numpy as np
from skimage.filters import threshold_otsu

from ..choices import CoarseMethod
from ..validated import Choice, Share, settings_class
from .crf import CrfSettings, dense_crf

LEVELS = (CoarseMethod.OTSU, CoarseMethod.THRESHOLD)
"""The methods that threshold each value by itself."""
BINS = 1024
"""Bins of the histogram from which the threshold is found."""
KMEANS_SIDE = 256
"""Samples along a side of a map that k-means clusters."""


@settings_class
class CoarseSettings:
    """How the map is thresholded.

    Args:
        method: "otsu" (the paper; the exact two-means of the map), "kmeans" (the authors' code, for parity),
            "threshold", or "crf" (dense conditional random field, the extra `medclipsam[crf]`).
        threshold: for "threshold", on the map from 0 to 1.
        crf: for "crf"; the defaults are the authors'.
    """

    method: Choice[CoarseMethod] = CoarseMethod.OTSU
    threshold: Share = 0.3
    crf: CrfSettings = CrfSettings()


def make_coarse_mask(saliency: np.ndarray, settings: CoarseSettings, image: np.ndarray | None = None) -> np.ndarray:
    """Threshold a saliency map into a coarse mask, (H, W) bool; empty for a constant map.

    Args:
        saliency: (H, W) float, 0 to 1.
        image: (H, W, 3) uint8, for "crf" only.
    """
    if saliency.max() <= saliency.min():
        return np.zeros(saliency.shape, bool)
    if settings.method == CoarseMethod.OTSU:
        return saliency > find_two_means_threshold(saliency)
    if settings.method == CoarseMethod.THRESHOLD:
        return saliency > settings.threshold
    if settings.method == CoarseMethod.KMEANS:
        return _kmeans(saliency)
    return dense_crf(saliency, image, settings.crf)


def cut_level(sample: np.ndarray, settings: CoarseSettings) -> float:
    """Find the threshold of a map by one of the methods in `LEVELS`, from an even sample of its values, 0 to 1.

    The best two classes meet midway between their means, which a histogram gives nearly as well as the values.
    """
    if settings.method == CoarseMethod.THRESHOLD:
        return settings.threshold
    counts = np.bincount((sample * np.float32(BINS - 0.5)).astype(np.intp).ravel(), minlength=BINS)
    if np.count_nonzero(counts) < 2:
        return find_two_means_threshold(sample)
    centers = (np.arange(BINS) + 0.5) / BINS
    lower = centers <= threshold_otsu(hist=(counts, centers))
    return float(sum(np.average(centers[part], weights=counts[part]) for part in (lower, ~lower)) / 2)


def find_two_means_threshold(values: np.ndarray) -> float:
    """Return the largest value of the lower of two classes whose squared distances to their means have a minimal sum.

    Over all cuts of the sorted values this is the largest between-class variance, Otsu's criterion (IEEE Trans. SMC 9,
    1979), since the variances within and between classes sum to that of all values; and the optimum of k-means with
    k = 2, whose classes are intervals in one dimension. Exact, and the same at every call.
    """
    ordered = np.sort(values, axis=None)
    count, below = len(ordered), np.arange(1.0, len(ordered))
    sums = np.cumsum(ordered, dtype=np.float64)
    between = sums[:-1] - below * (sums[-1] / count)  # of the lower class, less its share of all
    between *= between
    between /= below
    between /= count - below
    between[ordered[1:] == ordered[:-1]] = -1  # equal values stay together
    return float(ordered[between.argmax()])


def _kmeans(saliency: np.ndarray) -> np.ndarray:
    """Cluster the map as the authors' code does: 8 bits, 256 x 256, scikit-learn's k-means without its darker cluster.

    Samples are the nearest by the floor rule, as in OpenCV, both ways; values run from 0 to 1; k-means starts once,
    with the seed 10.
    """
    from sklearn.cluster import KMeans

    quantized = np.rint(saliency * 255).astype(np.uint8) / 255
    small = quantized[np.ix_(*(_nearest(KMEANS_SIDE, side) for side in saliency.shape))]
    found = KMeans(2, n_init=1, random_state=10).fit(small.reshape(-1, 1))
    bright = (found.labels_ != int(found.cluster_centers_.argmin())).reshape(small.shape)
    return bright[np.ix_(*(_nearest(side, KMEANS_SIDE) for side in saliency.shape))]


def _nearest(wanted: int, given: int) -> np.ndarray:
    """Return the nearest of `given` samples to each of `wanted` places by the floor rule, rounded as OpenCV does."""
    return np.minimum(np.arange(wanted) * (1 / (wanted / given)), given - 1).astype(np.intp)
