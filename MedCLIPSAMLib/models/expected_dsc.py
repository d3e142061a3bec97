"""Predict the DSC of a mask without a ground-truth mask, from the scores that the two models give their own answer.

Four indicators, each from 0 to 1, come at no extra cost with the mask: the presence of the prompt, the IoU that SAM 2
predicts, the agreement (IoU) of the mask with the coarse mask, and its consistency (mean Dice) with the masks from the
other saliency maps among which it was chosen. A logistic model, fitted to validation images with ground-truth masks,
converts them to the expected DSC. It is stored in a file beside the weights of the text-image model, and is valid for
the SAM 2 model, the settings and the targets that it was fitted with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, ModelError
from ..files.json_text import read_json, write_json
from ..validated import from_json, settings_class

EXPECTED_DSC = "expected_dsc.json"
"""Name of the file in a model's folder."""
MAX_BYTES = 1 << 16
RIDGE = 0.02
"""Penalty on the squared weights of the standardized indicators; small, and not tuned."""
_REMEDY = "Get the model again from its source, or remove that file to go without a predicted DSC."


@settings_class
class Indicators:
    """The two models' scores of a mask, each from 0 to 1.

    Args:
        presence: presence of the prompt in the image.
        quality: mean IoU that SAM 2 predicts for its masks.
        agreement: IoU of the mask and the coarse mask.
        consistency: mean Dice of the mask with those of the other saliency maps; 1 if there was only one map.
    """

    presence: float
    quality: float
    agreement: float
    consistency: float


@settings_class
class DscPredictor:
    """A logistic model of the DSC: 1 / (1 + exp(-(bias + weights . indicators))).

    Args:
        sam: catalogue name of the SAM 2 model that it was fitted with.
        settings: JSON values of the settings that it was fitted with.
        prompts: the targets of the masks that it was fitted to.
        bias, weights: parameters of the logistic model, with one weight per indicator.
        cases: number of masks that it was fitted to.
    """

    sam: str
    settings: dict[str, Any]
    prompts: tuple[str, ...]
    bias: float
    weights: Indicators
    cases: int

    def predict(self, indicators: Indicators) -> float:
        """Return the expected DSC of a mask, from 0 to 1."""
        value = self.bias + sum(weight * value for weight, value in zip(astuple(self.weights), astuple(indicators)))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, value))))

    def write(self, path: Path) -> None:
        """Write the predictor as JSON.

        Raises:
            OutputError: the disk is full.
        """
        write_json(path, asdict(self))


def fit_predictor(
    indicators: Sequence[Indicators],
    scores: Sequence[float],
    sam: str,
    settings: Mapping[str, Any],
    prompts: Sequence[str],
) -> DscPredictor:
    """Fit the logistic model to the DSC of masks by cross-entropy, with a ridge penalty on the weights.

    Args:
        indicators: the indicators of each mask.
        scores: the DSC of each mask, from 0 to 1.
        sam, settings, prompts: see `DscPredictor`.
    """
    from scipy.optimize import minimize

    values = np.array([astuple(one) for one in indicators], float)
    truth = np.clip(np.asarray(scores, float), 0, 1)
    mean, spread = values.mean(0), values.std(0)
    spread[spread < 1e-6] = np.inf  # an indicator that never changes gets no weight
    standardized = np.column_stack([np.ones(len(values)), (values - mean) / spread])

    def loss(weights: np.ndarray) -> float:
        logits = standardized @ weights
        return float(np.mean(np.logaddexp(0, logits) - truth * logits) + RIDGE * np.sum(weights[1:] ** 2))

    found = minimize(loss, np.zeros(standardized.shape[1])).x
    weights = found[1:] / spread
    bias = float(found[0] - weights @ mean)
    return DscPredictor(sam, dict(settings), tuple(prompts), bias, Indicators(*weights), len(values))


def read_predictor(folder: Path) -> DscPredictor | None:
    """Read the predictor in a model's folder; None if there is none.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / EXPECTED_DSC
    if not path.exists():
        return None
    try:
        return from_json(DscPredictor, read_json(path, MAX_BYTES))
    except (OSError, ValueError, InputError) as error:
        reason = str(getattr(error, "problem", error)).rstrip(".")
        raise ModelError(f"Expected a DSC predictor in '{path}', got a damaged file: {reason}.", _REMEDY) from error
