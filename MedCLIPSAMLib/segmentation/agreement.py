"""How far the two models agree: SAM 2's mask compared with the coarse mask that its boxes were made from.

The text-image model says where, SAM 2 what shape. SAM 2, prompted with the box around a coarse mask, gives
something like that mask where there is an object, and something else where there is none, or where the map shows no
object. So their overlap says something about both without a truth mask.
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
    """Thresholds on the agreement. With zeros it decides nothing, as in the paper; docs/results/real.md has figures.

    Args:
        min_iou: below this the coarse mask is the answer in place of SAM 2's, and the message says so.
        min_iou_in_doubt: a prompt that is not certain to be there is answered with "nothing found" below this.
        certain: minimum presence of a prompt that is certain to be there.
    """

    min_iou: Share = 0.0
    min_iou_in_doubt: Share = 0.0
    certain: Share = 0.9


def compute_agreement(mask: np.ndarray, coarse: np.ndarray) -> float:
    """Compute the IoU of SAM 2's mask and the coarse mask, both (H, W) bool; 0 when both are empty."""
    either = int((mask | coarse).sum())
    return int((mask & coarse).sum()) / either if either else 0.0


def choose_result(results: Sequence[PromptedResult]) -> PromptedResult:
    """Choose the result with the best agreement from those of several saliency maps of one image and prompt.

    A map of too few steps shows what stands out in the image whatever the text says, one of too many little but
    noise. The first of equals. Its consistency with the others is computed.
    """
    best = max(results, key=lambda result: result.agreement)
    others = [result.mask for result in results if result is not best]
    return replace(best, consistency=float(np.mean([_dice(best.mask, mask) for mask in others]))) if others else best


def _dice(mask: np.ndarray, other: np.ndarray) -> float:
    """Compute the Dice coefficient of two masks, (H, W) bool; 0 when both are empty."""
    size = int(mask.sum()) + int(other.sum())
    return 2 * int((mask & other).sum()) / size if size else 0.0
