"""The uncertainty of an ensemble per voxel and per case.

The uncertainty of a voxel v is the normalized entropy

    H(v) = - sum_c p_c(v) log p_c(v) / log C,   p the mean over the checkpoints of the probability of each of C classes,

which is 0 where the mean is certain and 1 where all classes are equally likely. The score of a case is the Dice loss
that the mean probabilities themselves predict for the mask M,

    u = 1 - 2 sum_M q / (sum_M 1 + sum q),   q the probability of the foreground,

or the entropy per voxel of the mask or of the expected foreground, whichever is larger, sum H / max(sum q, sum_M 1).
Both are 0 for a certain case, and both rate a small lesion with a blurred edge as less certain than a large one.
"""

from __future__ import annotations

import numpy as np

MIN_FOREGROUND = 1.0
"""Number of voxels: the least that the entropy is divided by, and the addend in the score of an empty mask."""


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Compute H from probabilities (C, K, J, I) of C classes: (K, J, I) float32 from 0 to 1, with 0 log 0 = 0."""
    terms = np.where(probabilities > 0, probabilities * np.log(np.maximum(probabilities, 1e-38)), 0)
    return np.clip(-terms.sum(0) / np.log(len(probabilities)), 0, 1).astype(np.float32)


def expected_loss(probabilities: np.ndarray, mask: np.ndarray) -> float:
    """Compute the score u of a mask, from 0 (certain) to 1.

    Args:
        probabilities: (C, K, J, I), with class 0 the background.
        mask: (K, J, I) bool.
    """
    foreground = 1 - probabilities[0]
    total = mask.sum() + foreground.sum()
    if not mask.any():
        # The mask is empty: the score is the expected foreground q as q / (q + MIN_FOREGROUND).
        return float(foreground.sum() / (foreground.sum() + MIN_FOREGROUND))
    return float(1 - 2 * foreground[mask].sum() / total)


def entropy_share(probabilities: np.ndarray, mask: np.ndarray) -> float:
    """Compute the entropy per foreground voxel, 0 for a certain case; the arguments are those of `expected_loss`."""
    foreground = 1 - probabilities[0]
    return float(entropy(probabilities).sum() / max(foreground.sum(), mask.sum(), MIN_FOREGROUND))
