"""The expected DSC of a mask, from the scores of the two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..choices import VoteMethod
from ..errors import InputError
from ..models.expected_dsc import DscPredictor, Signs, read_predictor
from ..models.store import find, locate
from .agreement import choose_result
from .result import PromptedResult
from .settings import Settings


def signs_of(result: PromptedResult) -> Signs:
    """Collect the models' scores of a mask of SAM 2."""
    quality = float(result.predicted_iou.mean())
    return Signs(result.where.presence.probability, quality, result.agreement, result.consistency)


def require_predictor(model: str, sam: str, models_dir: Path | None = None) -> None:
    """Refuse models without a fitted predictor of the DSC.

    Raises:
        InputError: naming them. ModelError: an unknown, absent or damaged text-image model.
    """
    predictor = read_predictor(locate(find(model, "clip", models_dir), models_dir))
    if predictor is None or predictor.sam != sam:
        raise InputError(
            f"Expected models whose DSC is predicted, got '{model}' with '{sam}'.",
            "Choose masks by their score, or use models that were fitted for it, such as 'starter'.",
        )


def with_expected_dsc(
    maps: Sequence[PromptedResult], predictor: DscPredictor | None, sam: str, settings: Settings
) -> PromptedResult:
    """Choose the result of one of several saliency maps, and add its expected DSC.

    None is added where nothing was found, or where the predictor was fitted with another SAM 2, for another number of
    maps, or without a vote.

    Args:
        predictor: of the text-image model.
        sam: name of the SAM 2 of the masks.
    """
    result = choose_result(maps)
    if predictor is None or not result.found or not result.predicted_iou.size:
        return result
    if (predictor.sam, predictor.maps) != (sam, len(maps)) or settings.vote.method != VoteMethod.NONE:
        return result
    expected = predictor.predict(signs_of(result))
    return replace(result, expected_dsc=expected, message=f"{result.message} Expected DSC {expected:.2f}.")
