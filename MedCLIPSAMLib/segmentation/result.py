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
        map: where the target would be; it does not show whether the target is there.
        presence: whether the target is there.
        ood_score: how unlike the training images this image is, see `models.feature_statistics`; above 1 there is a
            note. None for a model without these statistics.
    """

    map: SaliencyMap
    presence: Presence
    ood_score: float | None = None

    @property
    def saliency(self) -> np.ndarray:
        """The map by pixel, (H, W) float32, scaled to 0 to 1 within the image; computed on first access."""
        return self.map.pixels


@dataclass(frozen=True, eq=False)
class Result:
    """The mask of one prompt on one slice.

    Args:
        prompt: the prompt as the user typed it.
        mask: (H, W) bool; empty if nothing was found.
        score: 0 to 1; 0 if nothing was found.
        message: a sentence or two for the user on what was found, or why nothing was found.
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

    The score is the presence times the mean mask quality (IoU) that SAM 2 predicts. If the coarse mask replaces SAM 2's
    mask because they disagree, it is the presence times the agreement; if SAM 2 sees no object, it is 0.

    Args:
        where: saliency map and presence.
        coarse: (H, W) bool, the thresholded saliency map, kept components only.
        sam_prompts: boxes and points given to SAM 2.
        predicted_iou: (B,) float32, the quality that SAM 2 predicts for the mask of each component.
        seconds: time spent, by stage: "saliency", "embedding", "mask".
        agreement: IoU of SAM 2's mask and the coarse mask; 0 if SAM 2 gave none.
        consistency: mean Dice of the mask with the masks of the other candidate saliency maps; 1 if there was only one
            map.
        expected_dsc: the DSC that masks with similar scores reached, see `models.expected_dsc`; None if nothing was
            found or no predictor was fitted for these models and settings.
        uncertainty: (H, W) float32, the entropy in bits of a vote of several masks: 0 where all agree, 1 where they are
            split in half, and 0 everywhere if nothing was found. None if there is no vote by the settings, or SAM 2
            gave only one mask.
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
        """Return the result with an empty mask and a message that says why nothing was found."""
        certain = None if self.uncertainty is None else np.zeros_like(self.uncertainty)
        empty = np.zeros_like(self.mask)
        return replace(self, mask=empty, score=0.0, message=message, expected_dsc=None, uncertainty=certain)


@dataclass(frozen=True, eq=False)
class PropagatedResult(Result):
    """A mask that was propagated from another slice; its score is that of the other slice.

    Args:
        source: number in the volume of the slice that it was propagated from.
    """

    source: int


@dataclass(frozen=True, eq=False)
class SliceResult:
    """The result of one prompt on one slice of a stack.

    Args:
        number: slice number.
        result: what was found on the slice.
        presence: presence of the prompt on the slice, 0 to 1; None if several planes voted.
    """

    number: int
    result: Result
    presence: float | None
