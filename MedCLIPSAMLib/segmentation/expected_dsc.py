"""Predict the DSC of a mask from the scores of the two models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.expected_dsc import DscPredictor, Indicators, read_predictor
from ..models.store import find, find_model_folder
from .agreement import choose_result
from .report_words import DESCRIPTIONS
from .result import PromptedResult
from .settings import Settings

TUMORS = {"tumor", "tumour", "lesion", "mass", "masses", "nodule", "cancer", "neoplasm"}
FILLERS = {"a", "an", "the", "in", "of"}
SIDES = {"left", "right"}


def collect_indicators(result: PromptedResult) -> Indicators:
    """Collect the scores of both models for a mask from SAM 2."""
    quality = float(result.predicted_iou.mean())
    return Indicators(result.where.presence.probability, quality, result.agreement, result.consistency)


def fitted_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that a predictor is valid for, as JSON values: those that affect masks beyond rounding."""
    values = settings.deciding()
    return {name: value for name, value in values.items() if name not in ("precision", "modality")}


def holds_for(predictor: DscPredictor | None, sam: str, settings: Settings) -> bool:
    """Tell whether a predictor was fitted with this SAM 2, named as in the catalogue, and with these settings."""
    return predictor is not None and predictor.sam == sam and predictor.settings == fitted_settings(settings)


def _differing(predictor: DscPredictor, settings: Settings) -> list[str]:
    """List the names of the settings that differ from those that a predictor was fitted with."""
    here, fitted = fitted_settings(settings), predictor.settings
    return sorted(name for name in here.keys() | fitted.keys() if here.get(name) != fitted.get(name))


def knows_target(predictor: DscPredictor, prompt: str) -> bool:
    """Tell whether a prompt names a target that the predictor was fitted to, possibly in other words.

    A tumor on one side is still a tumor, but one lung is a different target from both lungs.
    """
    return _target(prompt) in map(_target, predictor.prompts)


def require_predictor(
    model: str, sam: str, settings: Settings, prompts: Iterable[str], models_dir: Path | None = None
) -> None:
    """Refuse models, settings or prompts for which no DSC predictor was fitted.

    Raises:
        InputError: no predictor was fitted; it names what differs. ModelError: an unknown, missing or damaged
            text-image model.
    """
    predictor = read_predictor(find_model_folder(find(model, "clip", models_dir), models_dir))
    remedy = "Choose masks by their score instead, or fit a predictor by 'medclipsam benchmark expected-dsc --fit'."
    if predictor is None or predictor.sam != sam:
        raise InputError(f"Expected models with a DSC predictor, got '{model}' with '{sam}'.", remedy)
    if changed := _differing(predictor, settings):
        raise InputError(
            f"Expected the settings that the DSC predictor of '{model}' was fitted with, got another "
            f"{', '.join(changed)}.",
            remedy,
        )
    for prompt in prompts:
        if not knows_target(predictor, prompt):
            raise InputError(
                f"Expected prompts for {', '.join(predictor.prompts)}, as the DSC predictor was fitted to these, "
                f"got '{prompt}'.",
                remedy,
            )


def choose_with_expected_dsc(
    results: Sequence[PromptedResult], predictor: DscPredictor | None, sam: str, settings: Settings
) -> PromptedResult:
    """Choose the result of one of several saliency maps, and add its expected DSC.

    It is not added if nothing was found, or if the predictor is not valid for the SAM 2, the settings or the target. A
    note gives the reason, except for a prompt that possibly but not certainly names a target of the predictor.

    Args:
        predictor: predictor of the text-image model; None if it has none.
        sam: name of the SAM 2 that made the masks.
    """
    result = choose_result(results)
    if predictor is None or not result.found or not result.predicted_iou.size:
        return result
    if not _may_be_target(predictor, result.prompt):
        targets = ", ".join(predictor.prompts)
        note = f"The models were measured on {targets} only: check whether this mask shows '{result.prompt}'."
        return replace(result, notes=(*result.notes, note))
    if not knows_target(predictor, result.prompt):
        return result
    if not holds_for(predictor, sam, settings):
        other = ", ".join(_differing(predictor, settings)) or "SAM 2"
        return replace(result, notes=(*result.notes, f"No expected DSC: its predictor is for another {other}."))
    expected = predictor.predict(collect_indicators(result))
    return replace(result, expected_dsc=expected, message=f"{result.message} Expected DSC {expected:.2f}.")


def _may_be_target(predictor: DscPredictor, prompt: str) -> bool:
    """Tell whether a prompt may name a target that the predictor was fitted to, described or named incompletely."""
    words = _target(prompt) - DESCRIPTIONS - SIDES
    targets = [target for target in map(_target, predictor.prompts) if ("tumor" in target) == ("tumor" in words)]
    return bool(words) and any(words <= target for target in targets)


def _target(prompt: str) -> frozenset[str]:
    """Return the words that name a target: singular, without articles, with one word for all tumors on any side."""
    words = set(re.findall(r"[\w-]+", prompt.lower())) - FILLERS
    singular = {word if word in TUMORS else word.removesuffix("s") for word in words}
    named = {"tumor" if word in TUMORS else word for word in singular}
    return frozenset(named - SIDES if "tumor" in named else named)
