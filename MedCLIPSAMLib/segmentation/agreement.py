"""Agreement of the two models: SAM 2's mask compared with the coarse mask that its prompts were made from.

The text-image model gives the place, SAM 2 the shape. Prompted with the box around a coarse mask, SAM 2 returns a
similar mask if there is an object, and a different one if there is none or the map does not show an object. So their
overlap is evidence about both models without a ground-truth mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..validated import Share, settings_class

if TYPE_CHECKING:
    from .result import PromptedResult


@settings_class
class AgreementSettings:
    """Thresholds on the agreement. Zeros disable them, as in the paper; figures are in docs/results/real.md.

    Args:
        min_iou: below this the coarse mask is the answer instead of SAM 2's mask, and the message says so.
        min_iou_in_doubt: below this the answer is "nothing found", unless the prompt is certain to be present.
        certain: minimum presence at which a prompt is certain to be present.
    """

    min_iou: Share = 0.0
    min_iou_in_doubt: Share = 0.0
    certain: Share = 0.9


def compute_agreement(mask: np.ndarray, coarse: np.ndarray) -> float:
    """Compute the IoU of SAM 2's mask and the coarse mask, both (H, W) bool; 0 if both are empty."""
    either = int((mask | coarse).sum())
    return int((mask & coarse).sum()) / either if either else 0.0


def choose_result(results: Sequence[PromptedResult]) -> PromptedResult:
    """Choose the result with the best agreement among those of several saliency maps of one image and prompt.

    A map after too few steps shows what stands out in the image regardless of the text; after too many steps it is
    mostly noise. Among equals the first is chosen. The consistency of the chosen result with the others is computed.
    """
    best = max(results, key=lambda result: result.agreement)
    others = [result.mask for result in results if result is not best]
    return replace(best, consistency=float(np.mean([_dice(best.mask, mask) for mask in others]))) if others else best


def _dice(mask: np.ndarray, other: np.ndarray) -> float:
    """Compute the Dice coefficient of two masks, (H, W) bool; 0 if both are empty."""
    size = int(mask.sum()) + int(other.sum())
    return 2 * int((mask & other).sum()) / size if size else 0.0
