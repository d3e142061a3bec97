"""The expected DSC of a mask, from the scores of the two models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.expected_dsc import DscPredictor, Indicators, read_predictor
from ..models.store import find, locate
from .agreement import choose_result
from .result import PromptedResult
from .settings import Settings


def indicators_of(result: PromptedResult) -> Indicators:
    """Collect the scores of the models for a mask of SAM 2."""
    quality = float(result.predicted_iou.mean())
    return Indicators(result.where.presence.probability, quality, result.agreement, result.consistency)


def fitted_settings(settings: Settings) -> dict[str, Any]:
    """Return the JSON values of the settings that a predictor holds for: all that decide on masks but for rounding."""
    values = settings.deciding()
    return {name: value for name, value in values.items() if name not in ("precision", "modality")}


def holds_for(predictor: DscPredictor | None, sam: str, settings: Settings) -> bool:
    """Tell whether a predictor was fitted with a SAM 2, by its name in the catalogue, and with these settings."""
    return predictor is not None and predictor.sam == sam and predictor.settings == fitted_settings(settings)


def require_predictor(model: str, sam: str, settings: Settings, models_dir: Path | None = None) -> None:
    """Refuse models and settings without a fitted predictor of the DSC.

    Raises:
        InputError: naming them. ModelError: an unknown, absent or damaged text-image model.
    """
    predictor = read_predictor(locate(find(model, "clip", models_dir), models_dir))
    remedy = "Choose masks by their score instead, or fit a predictor: medclipsam benchmark expected-dsc --fit."
    if predictor is None or predictor.sam != sam:
        raise InputError(f"Expected models whose DSC is predicted, got '{model}' with '{sam}'.", remedy)
    if not holds_for(predictor, sam, settings):
        here, fitted = fitted_settings(settings), predictor.settings
        changed = sorted(name for name in here.keys() | fitted.keys() if here.get(name) != fitted.get(name))
        raise InputError(
            f"Expected the settings that the DSC of '{model}' is predicted for, got another {', '.join(changed)}.",
            remedy,
        )


def choose_with_expected_dsc(
    results: Sequence[PromptedResult], predictor: DscPredictor | None, sam: str, settings: Settings
) -> PromptedResult:
    """Choose the result of one of several saliency maps, and add its expected DSC.

    None is added where nothing was found, or where the predictor does not hold for the SAM 2 or the settings.

    Args:
        predictor: of the text-image model; None where it has none.
        sam: name of the SAM 2 of the masks.
    """
    result = choose_result(results)
    if predictor is None or not result.found or not result.predicted_iou.size:
        return result
    if not holds_for(predictor, sam, settings):
        return result
    expected = predictor.predict(indicators_of(result))
    return replace(result, expected_dsc=expected, message=f"{result.message} Expected DSC {expected:.2f}.")
