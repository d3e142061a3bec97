"""Make a coarse mask from a saliency map, by a threshold, clustering or a CRF."""

from __future__ import annotations

import numpy as np
from skimage.filters import threshold_otsu

from ..choices import CoarseMethod
from ..validated import Choice, Share, settings_class
from .crf import CrfSettings, dense_crf

LEVELS = (CoarseMethod.OTSU, CoarseMethod.THRESHOLD)
"""The methods that compare each value with a threshold."""
BINS = 1024
"""Number of bins of the histogram in which the threshold is found."""
KMEANS_SIDE = 256
"""Number of samples along each side of a map that k-means clusters."""


@settings_class
class CoarseSettings:
    """Settings of the coarse mask.

    Args:
        method: "otsu" (as in the paper; exact two-means clustering of the values), "kmeans" (as in the authors' code,
            for parity), "threshold", or "crf" (dense conditional random field, needs the extra `medclipsam[crf]`).
        threshold: threshold of the map, 0 to 1, for "threshold".
        crf: settings for "crf"; the defaults are the authors'.
    """

    method: Choice[CoarseMethod] = CoarseMethod.OTSU
    threshold: Share = 0.3
    crf: CrfSettings = CrfSettings()


def make_coarse_mask(saliency: np.ndarray, settings: CoarseSettings, image: np.ndarray | None = None) -> np.ndarray:
    """Make a coarse mask, (H, W) bool, from a saliency map; empty for a constant map.

    Args:
        saliency: (H, W) float, 0 to 1.
        image: (H, W, 3) uint8, needed for "crf" only.
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
    """Find the threshold of a map by one of the methods in `LEVELS`, from evenly spaced samples of it, 0 to 1.

    The optimal threshold of two classes lies midway between their means, which a histogram gives nearly as accurately
    as the values.
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
    """Split values into two classes of minimal within-class variance; return the largest value of the lower class.

    This maximizes the between-class variance over all cuts of the sorted values, which is Otsu's criterion (IEEE Trans.
    SMC 9, 1979), since the variances within and between classes sum to the total variance. It is also the optimum of
    k-means with k = 2, whose classes are intervals in one dimension. The result is exact and deterministic.
    """
    ordered = np.sort(values, axis=None)
    count, below = len(ordered), np.arange(1.0, len(ordered))
    sums = np.cumsum(ordered, dtype=np.float64)
    between = sums[:-1] - below * (sums[-1] / count)  # sum of the lower class, less its share of the total
    between *= between
    between /= below
    between /= count - below
    between[ordered[1:] == ordered[:-1]] = -1  # do not separate equal values
    return float(ordered[between.argmax()])


def _kmeans(saliency: np.ndarray) -> np.ndarray:
    """Cluster the map as the authors' code does: 8 bits, 256 x 256, and the brighter cluster of scikit-learn's k-means.

    Both resamplings take the nearest sample by the floor rule, as in OpenCV. Values are from 0 to 1. K-means is run
    once, with the seed 10.
    """
    from sklearn.cluster import KMeans

    quantized = np.rint(saliency * 255).astype(np.uint8) / 255
    small = quantized[np.ix_(*(_nearest(KMEANS_SIDE, side) for side in saliency.shape))]
    found = KMeans(2, n_init=1, random_state=10).fit(small.reshape(-1, 1))
    bright = (found.labels_ != int(found.cluster_centers_.argmin())).reshape(small.shape)
    return bright[np.ix_(*(_nearest(side, KMEANS_SIDE) for side in saliency.shape))]


def _nearest(wanted: int, given: int) -> np.ndarray:
    """Return which of `given` samples is nearest to each of `wanted` places by the floor rule, rounded as in OpenCV."""
    return np.minimum(np.arange(wanted) * (1 / (wanted / given)), given - 1).astype(np.intp)
