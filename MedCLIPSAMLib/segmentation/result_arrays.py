"""Convert results of the full pipeline to arrays without pickle and back, for checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ..checkpoints import Arrays, CheckpointFolder
from .presence import Presence
from .result import Localization, PromptedResult
from .saliency_map import SaliencyMap
from .sam_prompts import SamPrompts

_ARRAYS = ("mask", "saliency", "coarse", "boxes", "points", "labels", "predicted_iou", "uncertainty")
_DESCRIBED = ("prompt", "score", "message", "notes", "seconds", "agreement", "consistency", "expected_dsc")
_NONE = np.zeros((0, 0), np.float32)
"""Placeholder for an array that a result does not have."""


def load_results(checkpoints: CheckpointFolder | None, name: str) -> dict[str, PromptedResult] | None:
    """Load results by prompt that `store_results` stored; None if there are none or they are damaged."""
    arrays = checkpoints.load(name) if checkpoints else None
    if arrays is None:
        return None
    try:
        return {
            described["prompt"]: _from_arrays(described, {field: arrays[f"{index}_{field}"] for field in _ARRAYS})
            for index, described in enumerate(json.loads(str(arrays["results"])))
        }
    except (ValueError, KeyError, TypeError):
        return None


def store_results(checkpoints: CheckpointFolder | None, name: str, results: Mapping[str, PromptedResult]) -> None:
    """Store the results of one slice by prompt; does nothing without checkpoints."""
    if checkpoints is None:
        return
    arrays = {
        f"{index}_{field}": array
        for index, result in enumerate(results.values())
        for field, array in _to_arrays(result).items()
    }
    described = np.array(json.dumps([_describe(result) for result in results.values()]))
    checkpoints.store(name, {"results": described, **arrays})


def _to_arrays(result: PromptedResult) -> Arrays:
    prompts = result.sam_prompts
    arrays = (result.mask, result.where.map.values, result.coarse, prompts.boxes, prompts.points, prompts.labels)
    uncertainty = _NONE if result.uncertainty is None else result.uncertainty
    return dict(zip(_ARRAYS, (*arrays, result.predicted_iou, uncertainty)))


def _describe(result: PromptedResult) -> dict[str, Any]:
    named = {name: getattr(result, name) for name in _DESCRIBED}
    return named | {"presence": asdict(result.where.presence), "ood_score": result.where.ood_score}


def _from_arrays(described: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PromptedResult:
    named = {name: described[name] for name in _DESCRIBED} | {"notes": tuple(described["notes"])}
    saliency = SaliencyMap(arrays["saliency"], arrays["mask"].shape)
    return PromptedResult(
        **named,
        mask=arrays["mask"],
        where=Localization(saliency, Presence(**described["presence"]), described["ood_score"]),
        coarse=arrays["coarse"],
        sam_prompts=SamPrompts(arrays["boxes"], arrays["points"], arrays["labels"]),
        predicted_iou=arrays["predicted_iou"],
        uncertainty=arrays["uncertainty"] if arrays["uncertainty"].size else None,
    )
