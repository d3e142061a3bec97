"""The result of one prompt on one slice: by the full pipeline, propagated from another slice, or by a vote."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .presence import Presence
from .saliency_map import SaliencyMap
from .sam_prompts import SamPrompts


@dataclass(frozen=True, eq=False)
class Localization:
    """What the text-image model sees in an image for a prompt.

    Args:
        map: where, never whether.
        presence: whether.
        ood_score: how unlike the training images this one is, see `models.feature_statistics`; a note above 1. None
            for a model without these statistics.
    """

    map: SaliencyMap
    presence: Presence
    ood_score: float | None = None

    @property
    def saliency(self) -> np.ndarray:
        """The map by pixel, (H, W) float32, 0 to 1 within the image; computed at the first access."""
        return self.map.pixels


@dataclass(frozen=True, eq=False)
class Result:
    """The mask of one prompt on one slice.

    Args:
        prompt: as the user typed it.
        mask: (H, W) bool; empty when nothing was found.
        score: 0 to 1; 0 when nothing was found.
        message: a sentence or two for the user: what was found, or why nothing was.
        notes: further sentences for the user.
    """

    prompt: str
    mask: np.ndarray
    score: float
    message: str
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def text(self) -> str:
        """The message and the notes."""
        return " ".join((self.message, *self.notes))

    @property
    def found(self) -> bool:
        """Whether the mask is not empty."""
        return bool(self.mask.any())


@dataclass(frozen=True, eq=False)
class PromptedResult(Result):
    """The result of the full pipeline, with its intermediate results.

    Its score is the presence times the mean mask quality (IoU) that SAM 2 predicts; times the agreement where the
    coarse mask stands in for SAM 2's.

    Args:
        where: saliency map and presence.
        coarse: (H, W) bool, the thresholded saliency map, kept components only.
        sam_prompts: boxes and points given to SAM 2.
        predicted_iou: (B,) float32, the quality that SAM 2 predicts for the mask of each component.
        seconds: by stage: "saliency", "embedding", "mask".
        agreement: IoU of the mask that SAM 2 gave and the coarse mask; 0 where it gave none.
        consistency: mean Dice of the mask with those of the other saliency maps that it was chosen among; 1 where
            there was one map alone.
        expected_dsc: the DSC that masks with such signs reached, see `models.expected_dsc`; None where nothing was
            found or nothing was fitted for these models and settings.
        uncertainty: (H, W) float32, the entropy of a vote of several masks in bits, 0 where all agree and 1 where half
            of them do, 0 everywhere where nothing was found; None where no vote was asked for, or SAM 2 was asked for
            one mask alone.
    """

    where: Localization
    coarse: np.ndarray
    sam_prompts: SamPrompts
    predicted_iou: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    agreement: float = 0.0
    consistency: float = 1.0
    expected_dsc: float | None = None
    uncertainty: np.ndarray | None = None

    def as_nothing(self, message: str) -> PromptedResult:
        """Return the result with nothing found in place of its mask, and the message that says why."""
        certain = None if self.uncertainty is None else np.zeros_like(self.uncertainty)
        empty = np.zeros_like(self.mask)
        return replace(self, mask=empty, score=0.0, message=message, expected_dsc=None, uncertainty=certain)


@dataclass(frozen=True, eq=False)
class PropagatedResult(Result):
    """A mask that was propagated from another slice, whose score it has.

    Args:
        source: the slice of the volume that it comes from.
    """

    source: int


@dataclass(frozen=True, eq=False)
class SliceResult:
    """The result of one prompt on one slice of a stack.

    Args:
        number: of the slice.
        result: what was found there.
        presence: how present the prompt is on the slice, 0 to 1; None where several planes voted.
    """

    number: int
    result: Result
    presence: float | None
