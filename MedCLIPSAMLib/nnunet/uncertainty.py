"""The uncertainty of an ensemble for each voxel, and for each case.

    H(v) = - sum_c p_c(v) log p_c(v) / log C,   p the mean over the checkpoints of the probability of each of C classes

is 0 where the mean is sure and 1 where all classes are equally likely. A case is scored by the Dice loss that the mean
probabilities themselves predict for the mask M,

    u = 1 - 2 sum_M q / (sum_M 1 + sum q),   q the probability of the foreground,

or by its entropy for each voxel that is taken or expected, sum H / (sum q). Both are 0 for a sure case, and both take a
small lesion with a blurred edge to be less sure than a large one.
"""

from __future__ import annotations

import numpy as np

MIN_FOREGROUND = 1.0
"""Number of voxels that an empty case is measured against."""


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Compute H of (C, K, J, I) probabilities over C classes: (K, J, I) float32, 0 to 1; 0 log 0 is 0."""
    terms = np.where(probabilities > 0, probabilities * np.log(np.maximum(probabilities, 1e-38)), 0)
    return np.clip(-terms.sum(0) / np.log(len(probabilities)), 0, 1).astype(np.float32)


def expected_loss(probabilities: np.ndarray, mask: np.ndarray) -> float:
    """Compute u of probabilities (C, K, J, I), class 0 the background, and a bool mask (K, J, I): 0 sure, 1 not."""
    foreground = 1 - probabilities[0]
    total = mask.sum() + foreground.sum()
    if not mask.any():
        # Nothing was taken: unsure by what the most probable voxels leave open.
        return float(foreground.sum() / (foreground.sum() + MIN_FOREGROUND))
    return float(1 - 2 * foreground[mask].sum() / total)


def entropy_share(probabilities: np.ndarray, mask: np.ndarray) -> float:
    """Compute the entropy for each voxel that is taken or expected, of the same arguments; 0 sure."""
    foreground = 1 - probabilities[0]
    return float(entropy(probabilities).sum() / max(foreground.sum(), mask.sum(), MIN_FOREGROUND))
