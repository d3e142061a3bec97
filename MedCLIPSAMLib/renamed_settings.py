"""Former names of settings and keys, as they occur in files and requests of earlier versions."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "licence": "license",
    "least": "min_iou",
    "least_in_doubt": "min_iou_in_doubt",
    "least_part": "min_part",
    "least_area": "min_area",
    "least_score": "min_score",
    "least_ml": "min_ml",
    "most_ml": "max_ml",
}


def with_current_names(value: Any) -> Any:
    """Return JSON values with the former names of settings replaced by the current ones, at any depth."""
    if isinstance(value, dict):
        return {RENAMED.get(name, name): with_current_names(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_current_names(inner) for inner in value]
    return value
